package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/test/server"
)

// pair is two sidecars of one group, with an application beside each, that share a
// dedupe store; and one that produces.
type pair struct {
	facts     *history
	app       *producer
	producing *sidecar
	members   []*sidecar
	handlers  []*handler
	server    *server.Server // of the store
	marks     *witness
	seed      uint64
}

// newPair starts the store's server and the applications.
func newPair(t *testing.T, seed uint64, store *sharedStore, choose func(*visit) answer, subscriptions ...subscription) *pair {
	t.Helper()
	p := &pair{facts: newHistory(), server: store.start(t), seed: seed}
	address, file := store.address(p.server), filepath.Join(t.TempDir(), "address")
	must(t, os.WriteFile(file, []byte(address), 0o600))
	var err error
	p.marks, err = store.look(address)
	must(t, err)
	for _, name := range []string{"a", "b"} {
		h := startHandler(t, p.facts, choose)
		h.called = p.wantUnrecorded
		var text strings.Builder
		fmt.Fprintf(&text, "dedupe: {timeout: 1s, "+store.settings+"}\nsubscriptions:\n", file)
		for _, s := range subscriptions {
			fmt.Fprintf(&text, "  - {name: %s, topic: %s, handler: %q, concurrency: 16, timeout: %s, retry: %s, dedupe: {store: %s}, %s}\n",
				groupOf(s.topic), s.topic, h.url(s.topic), s.timeout, s.retry, store.name, s.more)
		}
		h.side = newSidecar(t, "consuming "+name, nameServer(), text.String())
		p.handlers, p.members = append(p.handlers, h), append(p.members, h.side)
	}
	p.producing = newSidecar(t, "producing", nameServer(), "")
	p.app = newProducer(p.producing, p.facts)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.state())
		}
		p.app.close()
		must(t, p.marks.end())
	})
	return p
}

// state is what is known of what is not handled, for a failed test.
func (p *pair) state() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%+v\n", p.facts.look())
	for _, id := range p.facts.missing(5) {
		p.facts.mu.Lock()
		calls := len(p.facts.calls[id])
		p.facts.mu.Unlock()
		fmt.Fprintf(&text, "%s, called for %d times: %s\n", id, calls, p.app.story(id))
	}
	return text.String()
}

func (p *pair) start(t *testing.T) {
	t.Helper()
	for _, s := range append([]*sidecar{p.producing}, p.members...) {
		must(t, s.Start())
	}
}

// wantUnrecorded looks whether the store knew, when the handler was called, that the
// message is done.
func (p *pair) wantUnrecorded(v *visit) {
	topic := strings.TrimPrefix(v.r.URL.Path, "/")
	is, _ := p.marks.recorded(topic, v.id)
	p.facts.note(func() { v.call.recorded = is })
}

// stock is a store's server that is killed and started as a node.
type stock struct{ *server.Server }

func (stock) Name() string   { return "store" }
func (s stock) Kill() error  { s.Server.Kill(); return nil }
func (s stock) Start() error { s.Server.Start(); return nil }

// ahead is how many messages may wait to be handled: more are not posted.
const ahead = 400

// traffic posts messages of any kind until it is ended. It returns what went wrong.
func (p *pair) traffic(ctx context.Context, on topics) (end func() error) {
	more, enough := context.WithCancel(ctx)
	failed := make(chan error, posters)
	var mu sync.Mutex
	random, number := rand.New(rand.NewPCG(p.seed, 4)), 0
	next := func(poster int) *spec {
		mu.Lock()
		defer mu.Unlock()
		s := randomSpec(random, p.seed, number, on)
		if s.orderingKey != "" { // each has keys of its own, so that the order of accepts is known
			s.orderingKey = fmt.Sprintf("%d-%s", poster, s.orderingKey)
		}
		number++
		return s
	}
	var all sync.WaitGroup
	for poster := range posters {
		all.Go(func() {
			for pause(more, 25*time.Millisecond) == nil {
				if n := p.facts.look(); n.accepted-n.handled > ahead {
					continue
				}
				if err := p.app.post(ctx, job{next(poster)}); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	return func() error {
		enough()
		all.Wait()
		close(failed)
		return <-failed
	}
}

// strike kills nodes, and starts them again after a while. All of that is noted as a
// kill: a node that is away hits as one that dies.
func (p *pair) strike(ctx context.Context, while time.Duration, nodes []node) error {
	var kills []int
	for _, n := range nodes {
		if err := p.facts.kill(n); err != nil {
			return err
		}
		kills = append(kills, len(p.facts.kills)-1)
	}
	if err := pause(ctx, while); err != nil {
		return err
	}
	for i, n := range nodes {
		if err := n.Start(); err != nil {
			return err
		}
		p.facts.note(func() { p.facts.kills[kills[i]].till = time.Now() })
	}
	return nil
}
