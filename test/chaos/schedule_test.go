package chaos

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// event is something that happens to a link for a while.
type event struct {
	from, lasts time.Duration
	link        *link
	toxic       *toxic // nil: it is down
}

func (e event) String() string {
	what := "down"
	if e.toxic != nil {
		what = e.toxic.String()
	}
	return fmt.Sprintf("%s from %v for %v: %s", e.link.name, e.from.Round(time.Millisecond), e.lasts.Round(time.Millisecond), what)
}

// happen does it, and undoes it.
func (e event) happen(ctx context.Context) error {
	pause(ctx, e.from)
	if e.toxic == nil {
		e.link.down()
		pause(ctx, e.lasts)
		return e.link.up()
	}
	e.link.add(e.toxic)
	pause(ctx, e.lasts)
	e.link.remove(e.toxic)
	return nil
}

// kinds are the ways in which a network fails, with amounts drawn by chance. An
// attempt has 500 ms.
var kinds = []struct {
	kind string // "": it is down
	draw func(*rand.Rand) int
}{
	{"", func(*rand.Rand) int { return 0 }},
	{reset, func(r *rand.Rand) int { return r.IntN(100) }},
	{timeout, func(r *rand.Rand) int { return r.IntN(2) * r.IntN(1000) }},
	{latency, func(r *rand.Rand) int { return 20 + r.IntN(800) }},
	{bandwidth, func(r *rand.Rand) int { return 1 + r.IntN(30) }},
	{slicer, func(r *rand.Rand) int { return 8 + r.IntN(64) }},
	{cut, func(r *rand.Rand) int { return r.IntN(2000) }},
}

func either(r *rand.Rand) string { return []string{toBroker, fromBroker}[r.IntN(2)] }

// schedule draws what happens within span. The first event is of each kind in
// turn, and happens to a broker.
func schedule(seed uint64, n int, span time.Duration, brokers, names []*link) []event {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	all := make([]event, 1+r.IntN(3))
	isDown := map[*link]bool{} // up would end both
	for i := range all {
		kind, at := kinds[n%len(kinds)], brokers[r.IntN(len(brokers))]
		if i > 0 {
			kind = kinds[r.IntN(len(kinds))]
			at = slices.Concat(brokers, names)[r.IntN(len(brokers)+len(names))]
		}
		if kind.kind == "" && isDown[at] {
			kind = kinds[1]
		}
		isDown[at] = isDown[at] || kind.kind == ""
		all[i] = event{from: time.Duration(r.Int64N(int64(span) / 2)), lasts: time.Duration(r.Int64N(int64(span)/2)) + span/8, link: at}
		if kind.kind != "" {
			all[i].toxic = newToxic(kind.kind, either(r), kind.draw(r))
		}
	}
	slices.SortFunc(all, func(a, b event) int { return cmp.Compare(a.from, b.from) })
	return all
}

// TestSchedules has a network between the sidecar and its cluster fail as drawn
// by chance, again and again under traffic. After each time all arrives, in
// order, and only what has lost an answer more than once.
func TestSchedules(t *testing.T) {
	schedules := testscale.Between(20, 200)
	span := time.Duration(testscale.Between(300, 3000)) * time.Millisecond
	seed, ctx := testscale.PrintedSeed(t), within(t, time.Duration(testscale.Between(3, 60))*time.Minute)
	w := newTrial(t, newScene(t), "scheduled-a", "scheduled-b")
	must(t, w.side.Start())
	var waits []time.Duration
	for n := range schedules {
		plan := schedule(seed, n, span, w.scene.brokers, w.names)
		waits = append(waits, w.play(ctx, t, fmt.Sprintf("schedule %d of seed %d", n, seed), plan))
		if t.Failed() {
			return
		}
	}
	slices.Sort(waits)
	t.Logf("%d schedules: %d messages accepted and on the brokers, %d repeats; drained %v after the return in the median, %v at most",
		schedules, w.count(), w.repeats(), waits[len(waits)/2].Round(time.Millisecond), waits[len(waits)-1].Round(time.Millisecond))
}

// play runs a plan under traffic, and returns how long the drain took.
func (w *trial) play(ctx context.Context, t *testing.T, name string, plan []event) time.Duration {
	t.Helper()
	before, repeats := w.count(), w.repeats()
	defer func() {
		if t.Failed() {
			t.Logf("%s: %v", name, plan)
		}
	}()
	posting := w.begin(ctx, w.topics...)
	failed := make(chan error, len(plan))
	var events sync.WaitGroup
	for _, e := range plan {
		events.Go(func() { failed <- e.happen(ctx) })
	}
	events.Wait()
	posting.end(t)
	for range plan {
		must(t, <-failed)
	}
	took := w.drained(ctx, t)
	w.judge(ctx, t)
	t.Logf("%s: %v; %d accepted, %d repeats, drained in %v", name, plan, w.count()-before, w.repeats()-repeats, took.Round(time.Millisecond))
	return took
}
