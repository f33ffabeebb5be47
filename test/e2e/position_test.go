package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestNoEarlyAckAtAnyPosition: of a queue of messages all but one are answered 200, at
// each position in a queue of its own. The broker's offset comes as far as that one
// and never passes it; the consumer is killed, and it comes again from a second one.
func TestNoEarlyAckAtAnyPosition(t *testing.T) {
	t.Parallel()
	const positions = 8
	ctx, facts := within(t, 3*time.Minute), newHistory()
	kept := &held{ids: map[string]place{}, release: make(chan struct{})}
	producing := newSidecar(t, "producing", nameServer(), "")
	must(t, producing.Start())
	app := newProducer(producing, facts)
	t.Cleanup(app.close)

	bounds, ends := map[queue]int64{}, map[queue]int64{}
	var all []string
	for k := range positions {
		topic := fmt.Sprint("position-", k)
		shared.CreateTopic(t, topic, 1)
		all = append(all, topic)
		bounds[queue{topic, 0}], ends[queue{topic, 0}] = int64(k), positions
		for i := range positions {
			s := &spec{number: k*positions + i, size: 10, wait: time.Minute}
			s.topic = topic
			must(t, app.post(ctx, job{s}))
			id := facts.ids[s.number]
			at, err := app.placeOf(id)
			must(t, err)
			if at.offset != int64(i) {
				t.Fatalf("%s is at %v", s, at)
			}
			if i == k {
				kept.add(id, at)
			}
		}
	}
	member := func(name string) *sidecar {
		h := startHandler(t, facts, kept.choose)
		var text strings.Builder
		for _, topic := range all {
			fmt.Fprintf(&text, "\n  - {name: %s, topic: %s, handler: %q, timeout: 10m, dedupe: {store: off}}", groupOf(topic), topic, h.url(topic))
		}
		h.side = newSidecar(t, name, nameServer(), "subscriptions:"+text.String())
		return h.side
	}
	first := member("first")
	must(t, first.Start())
	must(t, facts.await(ctx, "all but the kept are handled, and those called for", func() bool {
		return facts.n.handled == facts.n.accepted-positions && facts.calledFor(kept.ids, 1)
	}))
	notPassed(ctx, t, bounds)

	must(t, first.Kill())
	second := member("second")
	must(t, second.Start())
	must(t, facts.await(ctx, "each that was kept came to the second one", func() bool { return facts.calledFor(kept.ids, 2) }))
	wantOffsets(t, bounds)
	close(kept.release)
	must(t, facts.progress(ctx))
	must(t, second.Stop()) // pushes its offsets
	must(t, reach(ctx, ends))
	if wrong := facts.complaints(); len(wrong) > 0 {
		t.Error(briefly(wrong))
	}
}

// notPassed waits until the offsets have come to their bounds, which shows that they
// are pushed, and then for as long as one more push takes.
func notPassed(ctx context.Context, t *testing.T, bounds map[queue]int64) {
	t.Helper()
	var reached time.Time
	for reached.IsZero() || time.Since(reached) < 6*time.Second {
		wantOffsets(t, bounds)
		if reached.IsZero() && isAt(bounds) {
			reached = time.Now()
		}
		must(t, pause(ctx, 200*time.Millisecond))
	}
}

func isAt(bounds map[queue]int64) bool {
	for q, bound := range bounds {
		if offset, err := offsetOf(q); err != nil || offset != bound {
			return false
		}
	}
	return true
}
