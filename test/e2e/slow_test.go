package e2e

import (
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// TestSlowHandlers: each place of a subscription is taken by a call that lasts longer
// than the 120 s after which the client library gives up a queue that it could not
// read from, and the results with it; behind them wait more messages than it takes in.
// Each message is called for once, and all are acked. In the short form calls last
// for less than those 120 s, which the library does not let us change.
func TestSlowHandlers(t *testing.T) {
	t.Parallel()
	const topic, messages, places = "slow", 700, 16
	lasts := time.Duration(testscale.Between(6, 150)) * time.Second
	ctx, facts := within(t, 3*time.Minute+2*lasts), newHistory()
	shared.CreateTopic(t, topic, 1)
	var mu sync.Mutex
	slow := map[string]bool{}
	h := startHandler(t, facts, func(v *visit) answer {
		mu.Lock()
		defer mu.Unlock()
		if len(slow) < places || slow[v.id] {
			slow[v.id] = true
			return after(lasts, done)
		}
		return done
	})
	producing := newSidecar(t, "producing", nameServer(), "")
	must(t, producing.Start())
	app := newProducer(producing, facts)
	t.Cleanup(app.close)
	var jobs []job
	for n := range messages {
		s := &spec{number: n, size: 100}
		s.topic = topic
		if n%50 == 0 {
			jobs = append(jobs, nil)
		}
		jobs[len(jobs)-1] = append(jobs[len(jobs)-1], s)
	}
	must(t, app.round(ctx, 0, [][]job{jobs}))

	h.side = newSidecar(t, "consuming", nameServer(), "subscriptions: [{name: slow-app, topic: slow, handler: "+h.url(topic)+
		", concurrency: 16, timeout: 10m, dedupe: {store: off}}]")
	must(t, h.side.Start())
	must(t, facts.await(ctx, "all are handled", func() bool { return facts.n.handled == messages }))
	must(t, reach(ctx, map[queue]int64{{topic, 0}: messages}))
	if n := facts.look(); n.calls != messages {
		t.Errorf("%d calls for %d messages", n.calls, messages)
	}
	if wrong := facts.complaints(); len(wrong) > 0 {
		t.Error(briefly(wrong))
	}
}
