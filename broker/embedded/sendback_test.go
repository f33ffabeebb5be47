package embedded

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// givingBack gives each message's first attempts back and acks the others.
func givingBack(t *testing.T, b *Broker, back broker.SendBack, attempts int) *running {
	t.Helper()
	r, _ := givingBackAt(t, b, back, attempts)
	return r
}

// givingBackAt also tells when each call began.
func givingBackAt(t *testing.T, b *Broker, back broker.SendBack, attempts int) (*running, <-chan time.Time) {
	t.Helper()
	ready, calls := make(chan struct{}), make(chan time.Time, attempts+1)
	var r *running
	r = consume(t, b, sub(), func(ctx context.Context, d *message.Delivery) error {
		select {
		case calls <- time.Now():
		default: // nobody asks for so many
		}
		<-ready
		if d.Attempt > attempts {
			return nil
		}
		return r.SendBack(ctx, d, back)
	})
	close(ready)
	return r, calls
}

func TestSendBackDeliversAgainAfterTheDelay(t *testing.T) {
	b := open(t, Options{})
	m := msg(0)
	m.Body = bytes.Repeat([]byte("x"), 700<<10)
	first := send(t, b, m)[0]
	const delay = 50 * time.Millisecond
	r, calls := givingBackAt(t, b, broker.SendBack{Delay: delay}, 2)
	one, last := r.next(), <-calls
	for attempt := 2; attempt <= 3; attempt++ {
		d, began := r.next(), <-calls
		if d.Attempt != attempt || d.Identity != one.Identity || d.ID != m.ID || d.Topic != "orders" || !bytes.Equal(d.Body, m.Body) {
			t.Errorf("attempt %d: %s %s attempt %d of %d bytes in topic %s", attempt, d.ID, d.Identity, d.Attempt, len(d.Body), d.Topic)
		}
		if d.BrokerMessageID == first.OffsetMessageID || !d.BornAt.Equal(one.BornAt) {
			t.Errorf("attempt %d is not a copy of its own, born when the first was: %+v", attempt, d)
		}
		if early := delay - began.Sub(last); early > 20*time.Millisecond {
			t.Errorf("attempt %d came %s early", attempt, early)
		}
		last = began
	}
	eventually(t, b, "all acked", func(s Stats) bool {
		return s.Groups["g"].Lag == 0 && s.Groups["g"].SentBack == 2 && s.Topics[RetryTopic("g")].Stored == 2
	})
	r.stop()
}

func TestIdentityWithoutAnIDIsTheFirstAppearance(t *testing.T) {
	b := open(t, Options{})
	m := msg(0)
	m.ID = message.ID{}
	first := send(t, b, m)[0]
	r := givingBack(t, b, broker.SendBack{}, 1)
	a, c := r.next(), r.next()
	if a.Attempt > c.Attempt { // the copy may be told of before the first call has ended
		a, c = c, a
	}
	if a.Identity != first.OffsetMessageID || c.Identity != a.Identity || c.Attempt != 2 {
		t.Errorf("identities %s and %s, want %s", a.Identity, c.Identity, first.OffsetMessageID)
	}
	r.stop()
}

func TestWhatWasGivenBackSurvives(t *testing.T) {
	b := open(t, Options{})
	m := msg(0)
	m.Body = make([]byte, 1<<20)
	send(t, b, m)
	r := givingBack(t, b, broker.SendBack{Delay: 300 * time.Millisecond}, 1)
	r.next()
	eventually(t, b, "acked", func(s Stats) bool { return s.Groups["g"].Lag == 0 && s.Delayed == 1 })
	r.stop()
	b = reopen(t, b)
	if b.Stats().Delayed != 1 {
		t.Fatal("the delayed message is gone")
	}
	r = consume(t, b, sub(), nil)
	if d := r.next(); d.Attempt != 2 || d.ID != m.ID || len(d.Body) != 1<<20 {
		t.Errorf("delivered %s, attempt %d", d.ID, d.Attempt)
	}
	r.quiet()
	r.stop()
	if s := reopen(t, b).Stats(); s.Delayed != 0 || s.Groups["g"].Lag != 0 {
		t.Errorf("it would come once more: %+v", s)
	}
}

func TestDeadLetters(t *testing.T) {
	b := open(t, Options{})
	send(t, b, msg(0))
	r := givingBack(t, b, broker.SendBack{DeadLetter: true}, 1)
	r.next()
	eventually(t, b, "dead", func(s Stats) bool { return s.Topics[DeadLetterTopic("g")].Stored == 1 && s.Groups["g"].Lag == 0 })
	r.quiet()
	r.stop()
	s := sub()
	s.Topic, s.Group = DeadLetterTopic("g"), "autopsy"
	r = consume(t, b, s, nil)
	if d := r.next(); d.ID != msg(0).ID || d.Topic != "orders" || d.Attempt != 1 {
		t.Errorf("dead letter %+v", d)
	}
	r.stop()
}

func TestForeignDeliveriesAreNotTaken(t *testing.T) {
	b := open(t, Options{})
	send(t, b, msg(0))
	r := consume(t, b, sub(), nil)
	d := r.next()
	r.stop()
	s := sub()
	s.Group = "h"
	c, err := b.Consumer(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*message.Delivery{d, {}} {
		if err := c.SendBack(t.Context(), d, broker.SendBack{}); !errors.Is(err, errForeign) {
			t.Errorf("error = %v", err)
		}
	}
}

func TestManyDelayedMessagesComeInTime(t *testing.T) {
	b := open(t, Options{})
	send(t, b, msgs(0, 200)...)
	r := givingBack(t, b, broker.SendBack{Delay: 20 * time.Millisecond}, 1)
	if err := each(r.take(400), 2); err != nil {
		t.Error(err)
	}
	eventually(t, b, "none left", func(s Stats) bool { return s.Delayed == 0 && s.Groups["g"].Lag == 0 })
	r.stop()
}
