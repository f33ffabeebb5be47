package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// TestPairThroughKills: two sidecars of one group share a store that has every mark
// on its disk: each kind in the long form, and one of them by the seed in the short.
// Under load one of them, both, the broker, the store's server, an application or the
// producing sidecar are killed at random, and handlers do all that handlers do.
// Every message is handled; the broker's offsets, read all the while, pass none before
// its 200; the handler is called again after a 200 once for each kill that kept it
// from being recorded, and never after it was recorded; of the topic that is ordered
// no message is called for before the 200 of the one before it, but right after a kill
// of the broker. At the end mqadmin sees nobody behind.
func TestPairThroughKills(t *testing.T) {
	seed := testscale.PrintedSeed(t)
	kinds := sharedStores
	if !testscale.Long() {
		kinds = kinds[seed%uint64(len(kinds)):][:1]
	}
	for _, kind := range kinds {
		t.Run(kind.title, func(t *testing.T) { pairThroughKills(t, seed, kind) })
	}
}

func pairThroughKills(t *testing.T, seed uint64, store *sharedStore) {
	t.Helper()
	faults := time.Duration(testscale.Between(0, 600)) * time.Second
	ctx, began := within(t, faults+4*time.Minute), time.Now()
	prefix := "pair-" + store.name
	on := topics{plain: prefix + "-plain", keyed: prefix + "-keyed", large: prefix + "-plain", sentBack: prefix + "-back"}
	names := []string{on.plain, on.keyed, on.sentBack}
	createTopics(t, names...)
	storm := &storm{}
	worse, stubborn := worse(seed), stubborn(seed)
	p := newPair(t, seed, store, storm.over(func(v *visit) answer {
		if v.r.URL.Path == "/"+on.sentBack {
			return stubborn(v)
		}
		return worse(v)
	}), subscription{topic: on.plain, timeout: handlerTimeout.String(), retry: "{initial: 100ms, max: 1s, max_attempts: 1000}"},
		subscription{topic: on.keyed, timeout: handlerTimeout.String(), retry: "{initial: 100ms, max: 1s, max_attempts: 1000}", more: "ordered: true"},
		subscription{topic: on.sentBack, timeout: handlerTimeout.String(), retry: "{initial: 10s, max: 10s, max_attempts: 1000}"})
	p.start(t)
	watch, err := newCustody(p.facts, names...)
	must(t, err)
	end := watching(ctx, watch)
	post := p.traffic(ctx, on)

	for lap := uint64(0); lap == 0 || time.Since(began) < faults; lap++ {
		random := rand.New(rand.NewPCG(seed, 5+lap))
		for _, nodes := range p.victims(random, storm) {
			must(t, p.facts.afterCalls(20+random.IntN(150), 0)(ctx))
			must(t, p.strike(ctx, time.Duration(random.IntN(1500))*time.Millisecond, nodes))
		}
	}
	must(t, post())
	if err := p.facts.progress(ctx); err != nil {
		t.Error(err)
	}
	must(t, level(ctx, names...))
	must(t, agreed(ctx, on.plain))
	end()
	must(t, watch.look())
	if wrong := append(p.verdict(), p.facts.overtaken(on.keyed, p.locksForgotten)...); len(wrong) > 0 {
		t.Error(briefly(wrong))
	}
	t.Log(p.summary(watch, time.Since(began)))
}

// victims are sets of nodes that are killed together, one set after the other. After
// a kill of the broker nothing is delivered for 20 s, and marks of what a member was
// called for when it died hold others up for half a minute: so they come last, together.
func (p *pair) victims(random *rand.Rand, storm node) [][]node {
	var a, b, store node = p.members[0], p.members[1], stock{p.server}
	sets := [][]node{{a}, {b}, {a, b}, {store}, {store, a}, {b, store}, {p.handlers[random.IntN(2)]}, {storm}}
	random.Shuffle(len(sets), func(i, j int) { sets[i], sets[j] = sets[j], sets[i] })
	return append(sets, []node{shared.Brokers[0], p.producing, p.members[random.IntN(2)]})
}

// watching watches until it is ended.
func watching(ctx context.Context, c *custody) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.watch(ctx)
	}()
	return func() { cancel(); <-ended }
}

func (p *pair) summary(c *custody, took time.Duration) string {
	n := p.facts.look()
	killed := map[string]int{}
	for _, k := range p.facts.kills {
		killed[k.name]++
	}
	sentBack := 0
	for _, copies := range c.back {
		sentBack += copies
	}
	var text strings.Builder
	fmt.Fprintf(&text, "pair, seed %d, %d s\n", p.seed, int(took.Seconds()))
	fmt.Fprintf(&text, "  handled   %d, in %d calls, of which %d failed on purpose, and %d came after a 200, each for a kill\n", n.handled, n.calls, n.failed, p.countRepeated())
	fmt.Fprintf(&text, "  offsets   read %d times; %d messages were sent back\n", c.looks, sentBack)
	fmt.Fprintf(&text, "  killed    %v\n", killed)
	return text.String()
}
