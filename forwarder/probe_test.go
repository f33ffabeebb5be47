package forwarder_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// probed is a producer with a broker that may have to be probed.
type probed struct {
	*producer
	due atomic.Bool
}

func (p *probed) Probe(string) bool { return p.due.Load() }
func (p *probed) Failing() []string { return []string{"broker-b"} }

// While a broker waits for a probe, attempts are of one message: a batch would
// never reach it.
func TestProbesAreSingleMessages(t *testing.T) {
	p := &probed{producer: &producer{}}
	p.due.Store(true)
	p.answer = func([]*message.Message) *broker.SendError {
		if len(p.sizes) == 5 {
			p.due.Store(false)
		}
		return nil
	}
	var drafts []spool.Draft
	for i := range 500 {
		drafts = append(drafts, draft("orders", fmt.Sprint(i), ""))
	}
	r := startWith(t, p, p.producer, drafts...)
	r.drained()
	if got := p.sizes[:5]; !slices.Equal(got, []int{1, 1, 1, 1, 1}) {
		t.Errorf("batches while a probe is due: %v", got)
	}
	if slices.Max(p.sizes) < 64 {
		t.Errorf("batches after it: %v", p.sizes)
	}
}

// probedElsewhere has a broker to be probed that none of its keys is bound to.
type probedElsewhere struct{ *probed }

func (p probedElsewhere) Queues(ctx context.Context, topic string) []string {
	return oneQueue{p.producer}.Queues(ctx, topic)
}
func (p probedElsewhere) Instead(string, string) string { return "" }
func (p probedElsewhere) Serves(string, string) bool    { return true }
func (p probedElsewhere) SendTo(ctx context.Context, _ string, msgs []*message.Message) ([]message.Confirmation, error) {
	return p.Send(ctx, msgs)
}

// What is bound to a broker that is well cannot probe another one, and is sent in
// batches while that waits for a probe.
func TestWhatCannotProbeIsSentInBatches(t *testing.T) {
	p := probedElsewhere{&probed{producer: &producer{}}}
	p.due.Store(true)
	var drafts []spool.Draft
	for i := range 500 {
		drafts = append(drafts, draft("orders", fmt.Sprint(i), "k"))
	}
	r := startWith(t, p, p.producer, drafts...)
	r.drained()
	if slices.Max(p.sizes) < 64 {
		t.Errorf("batches %v", p.sizes)
	}
}

// What is bound to a broker that fails waits by itself: the topic's other
// messages are not slowed down.
func TestFailingBrokerDelaysOnlyWhatIsBoundToIt(t *testing.T) {
	down := atomic.Bool{}
	down.Store(true)
	p := &producer{answer: func(msgs []*message.Message) *broker.SendError {
		if msgs[0].OrderingKey == "bound" && down.Load() {
			return &broker.SendError{Outcome: message.OutcomeRetryable, Status: "BREAKER_OPEN", Probe: true, Elsewhere: true}
		}
		return nil
	}}
	bound := draft("orders", "bound", "bound")
	r := start(t, p, bound)
	for i := range 20 {
		var drafts []spool.Draft
		for range 50 {
			drafts = append(drafts, draft("orders", fmt.Sprint(i), ""))
		}
		ids := r.accept(drafts...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		for _, id := range ids {
			if got, err := r.Wait(ctx, id); err != nil || got.State != message.StateConfirmed {
				t.Fatalf("%+v %v", got, err)
			}
		}
		cancel()
	}
	p.mu.Lock()
	for _, size := range p.sizes {
		if size == 50 {
			down.Store(false) // a whole batch went while the key was refused
		}
	}
	p.mu.Unlock()
	if down.Load() {
		t.Errorf("batches %v: the lane was slowed down", p.sizes)
	}
	down.Store(false)
	r.drained()
}
