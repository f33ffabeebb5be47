package brokertest

import (
	"context"
	"errors"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

var sendBackCases = []testCase{
	{"what is sent back comes again later, as the next attempt", 1, sendBackDelay},
	{"what is sent back as dead does not come again", 1, sendBackDead},
	{"a send-back under a done context is an error", 1, sendBackCancelled},
}

// sendBack fails the test unless the broker takes a in time, which is then acked. On
// a busy machine it may be busy for the moment.
func (c *consuming) sendBack(a *arrival, back broker.SendBack) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := c.consumer.SendBack(ctx, a.Delivery, back)
		if err == nil {
			break
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			c.t.Fatalf("send back: %v", err)
		}
	}
	a.ack()
}

func sendBackDelay(f *fixture) {
	m := fullMessage(f.topic)
	f.send(m)
	c := f.consume(f.subscription())
	first := c.next()
	for attempt := 2; attempt <= 4; attempt++ {
		since := time.Now()
		c.sendBack(first, broker.SendBack{Delay: time.Second})
		again := c.next()
		if waited := time.Since(since); waited < 900*time.Millisecond {
			f.t.Errorf("attempt %d came after %v, want a second", attempt, waited)
		}
		if again.Attempt != attempt || again.Identity != m.ID.String() {
			f.t.Errorf("attempt %d of %s, want %d of %s", again.Attempt, again.Identity, attempt, m.ID)
		}
		checkFull(f.t, again.Delivery, m)
		first = again
	}
	first.ack()
	c.stop()
	f.consume(f.subscription()).quiet(3 * time.Second)
}

func sendBackDead(f *fixture) {
	f.sendOneByOne(2)
	c := f.consume(f.subscription())
	dead, other := c.next(), c.next()
	c.sendBack(dead, broker.SendBack{DeadLetter: true})
	other.ack()
	c.quiet(3 * time.Second)
	c.stop()
	f.consume(f.subscription()).quiet(3 * time.Second)
}

func sendBackCancelled(f *fixture) {
	f.sendOneByOne(1)
	c := f.consume(f.subscription())
	a := c.next()
	ctx, cancel := context.WithCancel(f.t.Context())
	cancel()
	if err := c.consumer.SendBack(ctx, a.Delivery, broker.SendBack{}); err == nil {
		f.t.Error("send-back under a done context: no error")
	}
	c.quiet(2 * time.Second)
	a.ack()
}

func refusedSendBack(f *fixture, b Refusing) {
	f.sendOneByOne(3)
	c := f.consume(f.subscription())
	var held []*arrival
	for range 3 {
		held = append(held, c.next())
	}
	heal := b.RefuseSendBack(f.t)
	for _, a := range held {
		if err := c.consumer.SendBack(f.t.Context(), a.Delivery, broker.SendBack{}); err == nil {
			f.t.Error("a refused send-back: no error")
		}
	}
	c.stop() // the three are held: none is acked
	heal()
	checkAllAgain(f.t, f, 3)
}

func storedWithoutOK(f *fixture, b Doubting) {
	f.send(newMessage(f.topic, "before"))
	heal := b.StoreWithoutOK(f.t)
	m := newMessage(f.topic, "doubtful")
	doubts := 0
	for range 5 {
		confirmed, err := f.attempt(f.t.Context(), m)
		if err == nil {
			continue // a flush can be quicker than its timeout
		}
		doubts++
		se := (*broker.SendError)(nil)
		if !errors.As(err, &se) || !se.Stored || se.Outcome != message.OutcomeUnknown || se.Queue == "" || confirmed != nil {
			f.t.Fatalf("stored without SEND_OK: confirmations %v, error %#v", confirmed, err)
		}
	}
	heal()
	if doubts == 0 {
		f.t.Fatal("all were confirmed")
	}
	f.send(newMessage(f.topic, "after"))
	for c := f.consume(f.subscription()); ; {
		a := c.next()
		a.ack()
		switch string(a.Body) {
		case "doubtful":
			if a.Identity != m.ID.String() {
				f.t.Fatalf("a copy has the identity %s, want %s", a.Identity, m.ID)
			}
		case "after":
			return
		}
	}
}
