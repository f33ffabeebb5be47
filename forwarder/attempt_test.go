package forwarder_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
)

// sending is a broker of which a test says what each attempt does before it is answered.
type sending struct {
	*producer
	do func(ctx context.Context, msgs []*message.Message) error
}

func (s *sending) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	if err := s.do(ctx, msgs); err != nil {
		return nil, err
	}
	return s.producer.Send(ctx, msgs)
}

// An attempt that hangs has its time, and no more.
func TestAttemptThatHangsEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 7 * time.Second
		var mu sync.Mutex
		var took []time.Duration
		s := &sending{&producer{}, func(ctx context.Context, _ []*message.Message) error {
			began := time.Now()
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			if took = append(took, time.Since(began)); len(took) == 3 {
				return nil
			}
			return &broker.SendError{Status: "TIMEOUT", Err: ctx.Err()}
		}}
		r := open(t, s.producer, draft("orders", "x", ""))
		r.forward(forwarder.Options{AttemptTimeout: timeout}, s)
		r.drainedWithin(time.Minute)
		if want := []time.Duration{timeout, timeout, timeout}; !slices.Equal(took, want) {
			t.Errorf("attempts took %v, want %v", took, want)
		}
	})
}

// A stop waits for the attempts that run, and cuts none off: without its answer each
// would be a repeat.
func TestStopWaitsForAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := make(chan struct{})
		s := &sending{&producer{}, func(ctx context.Context, _ []*message.Message) error {
			close(began)
			select {
			case <-time.After(3 * time.Second):
				return nil
			case <-ctx.Done():
				return &broker.SendError{Status: "TIMEOUT", Err: ctx.Err()}
			}
		}}
		r := open(t, s.producer)
		id := r.accept(draft("orders", "x", ""))[0]
		ctx, stop := context.WithCancel(t.Context())
		go func() { <-began; stop() }()
		if err := forwarder.New(forwarder.Options{}, r.Spool, s, slog.New(slog.DiscardHandler)).Run(ctx); err != nil {
			t.Error(err)
		}
		got, err := r.Receipt(t.Context(), id)
		if err != nil || got.State != message.StateConfirmed || got.Attempts != 1 {
			t.Errorf("after %d attempts it is %v, %v", got.Attempts, got.State, err)
		}
	})
}

// A stop gives back what was leased and waits, for a slot or for its place among those that
// do: none of it is in flight any more.
func TestStopGivesBackWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		s := &sending{&producer{}, func(context.Context, []*message.Message) error {
			<-end
			return nil
		}}
		r := open(t, s.producer, numbered(5, "")...)
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		opts := forwarder.Options{Concurrency: 1, MaxMessages: 1, AttemptTimeout: time.Minute}
		go func() { ran <- forwarder.New(opts, r.Spool, s, slog.New(slog.DiscardHandler)).Run(ctx) }()
		synctest.Wait()
		before := r.Ledger().Total.InSpool.InFlight
		stop()
		synctest.Wait()
		if n := r.Ledger().Total.InSpool; before < 3 || n.InFlight != 1 || n.Pending != 4 {
			t.Errorf("%d were in flight, and are after the stop: %+v; want one of several", before, n)
		}
		close(end)
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if got := sorted(r.bodies()); got != "[0]" {
			t.Errorf("stored %s", got)
		}
	})
}

// An answer that does not speak of each message of a batch confirms none of them.
func TestIncompleteAnswerConfirmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &forgetful{producer: &producer{}}
		s.left.Store(1)
		r := open(t, s.producer)
		ids := r.accept(numbered(5, "")...)
		r.forward(forwarder.Options{Retry: backoff.Policy{Initial: time.Minute, Max: time.Minute}}, s)
		time.Sleep(time.Second)
		for _, id := range ids {
			got, err := r.Receipt(t.Context(), id)
			if err != nil || got.State != message.StateRetrying || got.Attempts != 1 {
				t.Errorf("after %d attempts it is %v, %v", got.Attempts, got.State, err)
			}
		}
		r.drainedWithin(time.Hour)
	})
}

// forgetful leaves a message out of some answers.
type forgetful struct {
	*producer
	left atomic.Int64
}

func (f *forgetful) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	all, err := f.producer.Send(ctx, msgs)
	if f.left.Add(-1) >= 0 && err == nil {
		all = all[1:]
	}
	return all, err
}

// A topic that fails has one attempt at a time, however long each of them takes.
func TestFailingTopicHasOneAttemptAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most, failed := 0, 0, false
		s := &sending{&producer{}, func(context.Context, []*message.Message) error {
			mu.Lock()
			if running++; failed {
				most = max(most, running)
			}
			mu.Unlock()
			time.Sleep(2 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			running--
			failed = true
			return refuse(message.OutcomeRetryable, "SYSTEM_BUSY")
		}}
		r := open(t, s.producer, numbered(50, "")...)
		r.forward(forwarder.Options{Concurrency: 8, MaxMessages: 1}, s)
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if most != 1 {
			t.Errorf("%d at a time", most)
		}
	})
}

// A message that expires while it waits for a slot is not sent: it is a dead letter
// that nobody may have got.
func TestMessageThatExpiresBeforeItsTurnIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sending{&producer{}, func(context.Context, []*message.Message) error {
			time.Sleep(4 * time.Second)
			return nil
		}}
		r := open(t, s.producer)
		mortal := draft("orders", "late", "")
		mortal.TTL = 2 * time.Second
		r.accept(draft("first", "x", ""))
		r.forward(forwarder.Options{Concurrency: 1}, s)
		time.Sleep(time.Second)
		id := r.accept(mortal)[0]
		time.Sleep(time.Minute)
		got, err := r.Receipt(t.Context(), id)
		if err != nil || got.State != message.StateDead || got.Attempts != 0 {
			t.Errorf("after %d attempts it is %v, %v", got.Attempts, got.State, err)
		}
		if bodies := r.bodies(); !slices.Equal(bodies, []string{"x"}) {
			t.Errorf("sent: %v", bodies)
		}
	})
}

// What expires while it is sent in a batch that is refused is not sent again with the
// half that it is in.
func TestMessageThatExpiresInARefusedBatchIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var batches [][]string
		s := &sending{&producer{}, func(_ context.Context, msgs []*message.Message) error {
			var batch []string
			for _, m := range msgs {
				batch = append(batch, string(m.Body))
			}
			batches = append(batches, batch)
			if len(msgs) > 1 {
				time.Sleep(4 * time.Second)
				return refuse(message.OutcomePermanent, "MESSAGE_ILLEGAL")
			}
			return nil
		}}
		r := open(t, s.producer)
		mortal := draft("orders", "late", "")
		mortal.TTL = 2 * time.Second
		id := r.accept(draft("orders", "x", ""), mortal)[1]
		r.forward(forwarder.Options{Concurrency: 1}, s)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, err := r.Receipt(t.Context(), id); err != nil || got.State != message.StateDead {
			t.Errorf("it is %v, %v", got.State, err)
		}
		if want := "[[x late] [x]]"; fmt.Sprint(batches) != want {
			t.Errorf("sent %v, want %s", batches, want)
		}
	})
}
