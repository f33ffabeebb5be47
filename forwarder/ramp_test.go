package forwarder_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// returning is a broker that is away, and then takes a while for each answer.
type returning struct {
	producer

	answers time.Duration // how long one takes
	down    func(topic string) bool

	mu      sync.Mutex
	running int
	met     []met
}

// met is what an attempt met: how many ran with it, and had been confirmed.
type met struct{ running, confirmed int }

func (p *returning) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	if p.down(msgs[0].Topic) {
		return nil, &broker.SendError{Outcome: message.OutcomeRetryable, Status: "CONNECT"}
	}
	p.enter()
	defer p.leave()
	time.Sleep(p.answers)
	return p.producer.Send(ctx, msgs)
}

func (p *returning) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running++
	p.met = append(p.met, met{p.running, len(p.met) + 1 - p.running})
}

func (p *returning) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
}

// A broker that was away gets one attempt more with each time that it takes to
// answer, whatever waits, beside what single lanes use to look whether it is back.
func TestReturningBrokerIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const topics, each, lookers = 4, 600, 4
		var down sync.Map
		down.Store("down", true)
		p := &returning{answers: 20 * time.Millisecond, down: func(string) bool { is, _ := down.Load("down"); return is == true }}
		var drafts []spool.Draft
		for n := range topics * each {
			drafts = append(drafts, draft(fmt.Sprint("t", n%topics), fmt.Sprint(n), ""))
		}
		r := open(t, &p.producer)
		for len(drafts) > 0 {
			n := min(300, len(drafts))
			r.accept(drafts[:n]...)
			drafts = drafts[n:]
		}
		r.forward(forwarder.Options{MaxMessages: 4, Retry: backoff.Policy{Initial: time.Second, Max: time.Second}}, p)
		time.Sleep(time.Minute)
		down.Store("down", false)
		r.drainedWithin(10 * time.Minute)
		p.mu.Lock()
		defer p.mu.Unlock()
		widest := 0
		for _, m := range p.met {
			allowed := 1
			for allowed*(allowed+1)/2 <= m.confirmed {
				allowed++
			}
			if m.running > allowed+lookers {
				t.Fatalf("%d attempts at a time after %d were confirmed", m.running, m.confirmed)
			}
			widest = max(widest, m.running)
		}
		if widest < 12 {
			t.Errorf("no more than %d attempts at a time", widest)
		}
	})
}

// drainedWithin is for a bubble, whose time costs nothing.
func (r *rig) drainedWithin(d time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), d)
	defer cancel()
	if err := r.Drained(ctx); err != nil {
		r.t.Fatalf("not drained: %v; ledger %+v", err, r.Ledger().Total)
	}
}

// A topic that fails by itself, also one that alone is sent for a while, keeps the
// others as wide as they were.
func TestStuckTopicNarrowsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &returning{answers: 20 * time.Millisecond, down: func(topic string) bool { return topic == "stuck" }}
		r := open(t, &p.producer)
		r.accept(draft("stuck", "x", ""))
		for n := range 8 {
			var drafts []spool.Draft
			for k := range 300 {
				drafts = append(drafts, draft("fine", fmt.Sprint(n, k), ""))
			}
			r.accept(drafts...)
		}
		f, registry := forwarder.New(forwarder.Options{MaxMessages: 1}, r.Spool, p, slog.New(slog.DiscardHandler)), prometheus.NewRegistry()
		f.Register(registry)
		r.run(f)
		want := `
# HELP remora_forward_attempts_allowed Attempts that may run at a time: forwarder.concurrency, and after an outage fewer, one more with each answer's time.
# TYPE remora_forward_attempts_allowed gauge
remora_forward_attempts_allowed 64
`
		rest := 2
		for began := time.Now(); rest > 0; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 10*time.Minute {
				t.Fatal("the other topic is not sent")
			}
			if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "remora_forward_attempts_allowed"); err != nil {
				t.Fatal(err)
			}
			if r.Waiting("fine") == 0 {
				rest-- // and once more, while the stuck one is alone
				time.Sleep(time.Minute)
			}
		}
	})
}
