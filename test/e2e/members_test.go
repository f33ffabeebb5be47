package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// TestOrderThroughKilledMembers: two sidecars of an ordered subscription share a
// topic; under load one joins, one is killed and started again, and one leaves, while
// the handler fails, and leases without a word. No message of an ordering key is
// handled before the one before it, and no two at once. In the long form a killed one
// stays away until the other has its queues, too.
func TestOrderThroughKilledMembers(t *testing.T) {
	const keys, each = orderlyKeys, 8
	rounds := testscale.Between(1, 10)
	ctx := within(t, time.Duration(3+3*rounds)*time.Minute)
	topic := fmt.Sprint("ordered-members-", time.Now().UnixNano())
	createTopics(t, topic)
	app := startOrderly(t)
	producing := newSidecar(t, "producing", nameServer(), "")
	must(t, producing.Start())
	o := &ordered{t: t, sidecar: producing, topic: topic, number: map[string]int{}, key: map[string]string{}}
	a, b := app.member(topic, "a"), app.member(topic, "b")
	must(t, a.Start())
	handles := func(member string) { // under load
		t.Helper()
		for before := app.by(member); app.by(member) < before+keys; {
			o.publish(ctx, keys, each)
			app.awaitNews(ctx)
		}
	}
	for round := range rounds {
		handles("a")
		must(t, b.Start())
		handles("b")
		must(t, a.Kill())
		o.publish(ctx, keys, each)
		if round > 0 { // its locks end a minute after its last word
			app.awaitAll(ctx, o.next)
		}
		must(t, a.Start())
		handles("a")
		must(t, b.Stop())
		handles("a")
	}
	app.awaitAll(ctx, o.next)
	app.check()
}

// orderlyKeys is how far apart the numbers of a key are.
const orderlyKeys = 12

// orderly is the application of all members. A message's number is in its body, and
// those of a key are keys apart.
type orderly struct {
	t      *testing.T
	server *httptest.Server
	news   chan struct{}

	mu      sync.Mutex
	last    map[string]int // of a key, handled
	busy    map[string]string
	tried   map[int]bool
	members map[string]int // calls
	handled map[int]bool
	repeats int
	wrong   []string
}

func startOrderly(t *testing.T) *orderly {
	t.Helper()
	app := &orderly{
		t: t, news: make(chan struct{}, 1), last: map[string]int{}, busy: map[string]string{},
		tried: map[int]bool{}, members: map[string]int{}, handled: map[int]bool{},
	}
	app.server = httptest.NewServer(app)
	t.Cleanup(app.server.Close)
	return app
}

// member has no dedupe store, whose marks would hold up what a kill interrupts.
func (app *orderly) member(topic, name string) *sidecar {
	app.t.Helper()
	return newSidecar(app.t, "consuming "+name, nameServer(), fmt.Sprintf(`subscriptions:
  - {name: orderly, topic: %s, handler: %q, ordered: true, dedupe: {store: off}, timeout: 5s, retry: {initial: 50ms, max: 1s}}`,
		topic, app.server.URL+"/"+name))
}

func (app *orderly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	member, key := strings.TrimPrefix(r.URL.Path, "/"), r.Header.Get("Mq-Ordering-Key")
	body, err := io.ReadAll(r.Body)
	n, numberErr := strconv.Atoi(string(body))
	if err != nil || numberErr != nil {
		return // the sidecar was killed while it sent
	}
	app.begin(member, key, n)
	works := time.Duration(n%5) * 4 * time.Millisecond
	if n%20 == 3 {
		works = 700 * time.Millisecond // it is under way when the members change
	}
	select {
	case <-time.After(works):
	case <-r.Context().Done():
	}
	app.end(r.Context(), w, key, n)
}

// begin notes a call that overtakes, and one beside another.
func (app *orderly) begin(member, key string, n int) {
	app.mu.Lock()
	defer app.mu.Unlock()
	last, known := app.last[key]
	switch {
	case app.busy[key] != "":
		app.wrong = append(app.wrong, fmt.Sprintf("%d of %s is called for at %s while %s has one", n, key, member, app.busy[key]))
	case known && n > last+orderlyKeys, !known && n >= orderlyKeys:
		app.wrong = append(app.wrong, fmt.Sprintf("%d of %s is called for at %s behind %d", n, key, member, last))
	}
	app.busy[key] = member
	app.members[member]++
}

// end answers; some at first with a failure, or with a lease that nobody speaks for.
func (app *orderly) end(ctx context.Context, w http.ResponseWriter, key string, n int) {
	app.mu.Lock()
	defer app.mu.Unlock()
	delete(app.busy, key)
	first := !app.tried[n]
	app.tried[n] = true
	switch {
	case ctx.Err() != nil:
		return
	case first && n%31 == 7:
		w.WriteHeader(http.StatusInternalServerError)
		return
	case first && n%47 == 11:
		w.Header().Set("MQ-Lease", "1s")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if app.handled[n] {
		app.repeats++
	}
	app.handled[n] = true
	app.last[key] = max(app.last[key], n)
	select {
	case app.news <- struct{}{}:
	default:
	}
}

func (app *orderly) by(member string) int {
	app.mu.Lock()
	defer app.mu.Unlock()
	return app.members[member]
}

// awaitNews waits for a call, or for a moment: the load goes on.
func (app *orderly) awaitNews(ctx context.Context) {
	app.t.Helper()
	must(app.t, pause(ctx, 200*time.Millisecond))
}

func (app *orderly) awaitAll(ctx context.Context, n int) {
	app.t.Helper()
	for {
		app.mu.Lock()
		done := len(app.handled)
		app.mu.Unlock()
		if done == n {
			return
		}
		select {
		case <-app.news:
		case <-ctx.Done():
			app.t.Fatalf("%d of %d messages are handled: %v", done, n, context.Cause(ctx))
		}
	}
}

func (app *orderly) check() {
	app.mu.Lock()
	defer app.mu.Unlock()
	for _, wrong := range app.wrong {
		app.t.Error(wrong)
	}
	app.t.Logf("%d messages, calls %v, %d repeats", len(app.handled), app.members, app.repeats)
}
