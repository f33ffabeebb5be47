package ackgate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// eagerConsumer delivers what it has taken back before it says that it has.
type eagerConsumer struct {
	*fakeConsumer
	receive broker.Receiver
	answer  error // of SendBack, in spite of that
}

func (c *eagerConsumer) Consume(ctx context.Context, receive broker.Receiver) error {
	c.receive = receive
	return c.fakeConsumer.Consume(ctx, receive)
}

func (c *eagerConsumer) SendBack(ctx context.Context, d *message.Delivery, back broker.SendBack) error {
	if err := c.fakeConsumer.SendBack(ctx, d, back); err != nil {
		return err
	}
	again := *d
	again.Attempt++
	run := context.WithoutCancel(ctx)
	go func() { _ = c.receive(run, &again) }()
	synctest.Wait()
	return c.answer
}

// That a lease cost no attempt is known to the redelivery, however fast that comes.
func TestRedeliveryThatOvertakesTheAnswerOfASendBack(t *testing.T) {
	bubble(t, func(s *scene) {
		s.noStore = true
		s.answers = times(6, accepted(time.Minute))
		s.start(options())
		s.gate.consumer = &eagerConsumer{fakeConsumer: (*fakeConsumer)(s)}
		s.run(time.Hour, delivery("a"))
		time.Sleep(time.Hour)
		synctest.Wait()
		s.wantAttempts(1, 1, 1, 1, 1, 1, 1)
	})
}

// Where the answer of a send-back is lost, the broker may have the message: when it
// comes from there, the lease has cost nothing either.
func TestSendBackOfUnknownOutcomeIsFree(t *testing.T) {
	bubble(t, func(s *scene) {
		s.noStore = true
		s.answers = times(2, accepted(time.Minute))
		s.start(options())
		s.gate.consumer = &eagerConsumer{fakeConsumer: (*fakeConsumer)(s), answer: errFake}
		s.run(70*time.Second, delivery("a"))
		synctest.Wait()
		if n := s.gate.free.of("a"); n != 1 {
			t.Errorf("%d free returns are known", n)
		}
		time.Sleep(time.Hour)
	})
}

// A send-back that is refused has returned nothing: the later one, which costs an
// attempt, counts whole.
func TestRefusedSendBackIsNotFree(t *testing.T) {
	bubble(t, func(s *scene) {
		s.noStore = true
		s.answers = []push.Answer{accepted(time.Minute), failed}
		s.backs = []error{&broker.SendError{Outcome: message.OutcomeRetryable, Err: errFake}}
		o := options()
		o.Retry = backoff.Policy{Initial: time.Hour}
		s.start(o)
		after(61*time.Second, func() {
			if n := s.gate.free.of("a"); n != 0 {
				t.Errorf("%d free returns are known after the refusal", n)
			}
		})
		s.run(30*time.Minute, delivery("a"))
		d := delivery("a")
		d.Attempt = 2 // as the broker counts: two calls, one of which has cost an attempt
		s.run(time.Minute, d)
		if n := s.gate.free.of("a"); n != 0 || s.count("back refused a") != 1 || s.count("back a") != 1 {
			t.Errorf("%d free returns: %v", n, s.events)
		}
	})
}
