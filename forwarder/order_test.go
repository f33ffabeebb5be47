package forwarder

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// scripted ends leases without a spool.
type scripted struct {
	Spool
	lane     *lane
	released int
}

func (s *scripted) Confirm([]*spool.Lease, []message.Confirmation) {}
func (s *scripted) Retry([]*spool.Lease, time.Time, message.Outcome, string) {
	s.lane.succeeded() // another attempt, of another key
}
func (s *scripted) Current(leases []*spool.Lease) []*spool.Lease             { return leases }
func (s *scripted) Release(leases []*spool.Lease)                            { s.released += len(leases) }
func (s *scripted) Bury(context.Context, *spool.Lease, string, string) error { return nil }
func (s *scripted) Waiting(string) int                                       { return 1 }

// firstIsBusy refuses batches, and the first message when it comes alone.
type firstIsBusy struct{ second int } // times that the second message was sent

func (p *firstIsBusy) Send(_ context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	switch {
	case len(msgs) > 1:
		return nil, &broker.SendError{Outcome: message.OutcomePermanent, Status: "MESSAGE_ILLEGAL"}
	case msgs[0].Seq == 1:
		return nil, &broker.SendError{Outcome: message.OutcomeRetryable, Status: "SYSTEM_BUSY"}
	}
	p.second++
	return make([]message.Confirmation, 1), nil
}

func (p *firstIsBusy) Close() error { return nil }

// A message behind one that waits for its retry is not sent before it, whatever
// other attempts of the lane came to meanwhile.
func TestRefusedBatchKeepsItsOrder(t *testing.T) {
	s, p := &scripted{}, &firstIsBusy{}
	s.lane = newLane(New(Options{}, s, p, slog.New(slog.DiscardHandler)), "orders")
	s.lane.attempt(t.Context(), []*spool.Lease{
		{Message: &message.Message{Seq: 1, OrderingKey: "k"}}, {Message: &message.Message{Seq: 2, OrderingKey: "k"}},
	})
	if p.second > 0 || s.released != 1 {
		t.Fatalf("the second message was sent %d times before the first, and given back %d times", p.second, s.released)
	}
}

func TestFailingCountsTopicsThatHaveSomethingToSend(t *testing.T) {
	s := &waiting{}
	f := New(Options{}, s, nil, slog.New(slog.DiscardHandler))
	l := newLane(f, "orders")
	l.failed(0, &broker.SendError{Status: "NO_ROUTE", Outcome: message.OutcomeRetryable})
	for _, n := range []int{1, 0} {
		if s.n = n; f.Failing() != n {
			t.Errorf("%d waiting: %d topics are failing", n, f.Failing())
		}
	}
	s.n = 1
	l.succeeded()
	if f.Failing() != 0 {
		t.Error("a topic fails after a success")
	}
}

type waiting struct {
	Spool
	n int
}

func (w *waiting) Waiting(string) int { return w.n }
