package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
)

var consumeCases = []testCase{
	{"tags are filtered", 2, consumeTags},
	{"each group gets all", 2, consumeTwoGroups},
	{"a new group starts where it was told", 1, consumeFrom},
	{"no more receivers run than asked for", 4, consumeConcurrency},
	{"a parked message makes room for another", 1, consumeParked},
	{"a held message is not acked", 1, consumeHeld},
	{"an error of the receiver does not ack", 1, consumeError},
	{"a panic of the receiver does not ack", 1, consumePanic},
	{"an ack while stopping counts", 1, consumeAckWhileStopping},
	{"progress survives the consumer", 2, consumeProgress},
	{"one of two takes over", 4, consumeTakeOver},
	{"consume returns when its context is done before it began", 1, consumeNever},
}

func consumeTags(f *fixture) {
	for i := range 12 {
		m := newMessage(f.topic, fmt.Sprint("tag-", i%4))
		if i%4 < 3 {
			m.Tag = fmt.Sprint("tag-", i%4)
		}
		f.send(m)
	}
	sub := f.subscription()
	sub.Tags = []string{"tag-0", "tag-2"}
	c := f.consume(sub)
	for _, d := range c.take(6) {
		if d.Tag != "tag-0" && d.Tag != "tag-2" {
			f.t.Errorf("delivered tag %q", d.Tag)
		}
	}
	c.quiet(time.Second)
}

func consumeTwoGroups(f *fixture) {
	msgs := f.sendOneByOne(10)
	other := f.subscription()
	other.Group = name(f.t, "group")
	for _, c := range []*consuming{f.consume(f.subscription()), f.consume(other)} {
		checkSame(f.t, c.take(len(msgs)), msgs)
		c.quiet(500 * time.Millisecond)
	}
}

// checkSame wants each message delivered once.
func checkSame(t *testing.T, deliveries []*message.Delivery, msgs []*message.Message) {
	t.Helper()
	times := map[string]int{}
	for _, d := range deliveries {
		times[d.Identity]++
	}
	for _, m := range msgs {
		if times[m.ID.String()] != 1 {
			t.Errorf("message %q was delivered %d times", m.Body, times[m.ID.String()])
		}
	}
}

func consumeFrom(f *fixture) {
	f.send(newMessage(f.topic, "early"))
	time.Sleep(1100 * time.Millisecond) // positions by time are no finer than a second
	between := time.Now()
	f.send(newMessage(f.topic, "late"))

	byTime := f.subscription()
	byTime.From.Time = between
	if got := bodies(f.consume(byTime).take(1)); got != "late" {
		f.t.Errorf("from a time: delivered %s", got)
	}
	latest := f.subscription()
	latest.Group, latest.From.Latest = name(f.t, "group"), true
	c := f.consume(latest)
	c.quiet(3 * time.Second)
	if got := f.firstOf(c, "new"); got != "new" {
		f.t.Errorf("from the latest: delivered %s", got)
	}
}

// firstOf sends until something is delivered: nobody tells when a consumer that
// starts at the end has found where that is.
func (f *fixture) firstOf(c *consuming, body string) string {
	f.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		f.send(newMessage(f.topic, body))
		select {
		case a := <-c.arrivals:
			a.ack()
			return string(a.Body)
		case <-time.After(2 * time.Second):
		}
	}
	f.t.Fatalf("no delivery in %v", patience)
	return ""
}

func consumeConcurrency(f *fixture) {
	f.send(newMessages(f.topic, 30)...)
	f.sendOneByOne(10)
	sub := f.subscription()
	sub.Concurrency = 3
	c := f.consume(sub)
	var held []*arrival
	for range sub.Concurrency {
		held = append(held, c.next())
	}
	c.quiet(2 * time.Second)
	held[0].ack()
	held[0] = c.next()
	c.quiet(500 * time.Millisecond)
	for _, a := range held {
		a.ack()
	}
	c.take(40 - sub.Concurrency - 1)
}

// consumeParked: what is parked is still not acked, and comes again to another
// consumer.
func consumeParked(f *fixture) {
	f.sendOneByOne(4)
	sub := f.subscription()
	sub.Concurrency = 1
	c := f.consume(sub)
	parked := c.next()
	c.quiet(500 * time.Millisecond)
	parked.Park()
	parked.Park() // is one
	second := c.next()
	c.quiet(500 * time.Millisecond) // the bound is of the others
	second.ack()
	for range 2 {
		c.next().ack()
	}
	c.stop()

	again := f.consume(sub)
	for {
		a := again.next()
		a.ack()
		if a.Identity == parked.Identity {
			return
		}
	}
}

func consumeHeld(f *fixture) {
	msgs := f.sendOneByOne(5)
	c := f.consume(f.subscription())
	var held *arrival
	for range msgs { // ack all but the third
		if a := c.next(); string(a.Body) == "2" {
			held = a
		} else {
			a.ack()
		}
	}
	c.quiet(3 * time.Second) // no second delivery while it is held
	c.stop()
	if held.ctx.Err() == nil {
		f.t.Error("the receiver's context is not done after the consumer stopped")
	}

	again := f.consume(f.subscription())
	for { // the acked ones behind it may come again
		a := again.next()
		a.ack()
		if a.Identity == held.Identity {
			return
		}
	}
}

func consumeError(f *fixture) {
	f.sendOneByOne(3)
	c := f.consume(f.subscription())
	held := []*arrival{c.next(), c.next(), c.next()}
	c.cancel()
	for _, a := range held {
		a.fail(errors.New("cannot say"))
	}
	c.stop()
	checkAllAgain(f.t, f, 3)
}

// checkAllAgain wants n different messages from a new consumer of the group.
func checkAllAgain(t *testing.T, f *fixture, n int) {
	t.Helper()
	seen := map[string]bool{}
	for c := f.consume(f.subscription()); len(seen) < n; {
		a := c.next()
		a.ack()
		seen[a.Identity] = true
	}
}

func consumePanic(f *fixture) {
	f.sendOneByOne(3)
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	var calls atomic.Int32
	consumer := f.backend.NewConsumer(f.t, f.subscription())
	err := consumer.Consume(ctx, func(context.Context, *message.Delivery) error {
		if calls.Add(1) == 3 {
			time.AfterFunc(time.Second, cancel)
		}
		panic("of the receiver")
	})
	if err != nil {
		f.t.Errorf("consume: %v", err)
	}
	checkAllAgain(f.t, f, 3)
}

func consumeAckWhileStopping(f *fixture) {
	f.sendOneByOne(4)
	c := f.consume(f.subscription())
	var held []*arrival
	for range 4 {
		held = append(held, c.next())
	}
	for _, a := range held {
		a.ack() // each receiver may see its context done before or after
	}
	c.stop()
	f.consume(f.subscription()).quiet(5 * time.Second)
}

func consumeProgress(f *fixture) {
	f.sendOneByOne(20)
	c := f.consume(f.subscription())
	c.take(20)
	c.stop()
	f.send(newMessage(f.topic, "new"))
	again := f.consume(f.subscription())
	if got := bodies(again.take(1)); got != "new" {
		f.t.Errorf("after a restart: delivered %s", got)
	}
	again.quiet(2 * time.Second)
}

func consumeTakeOver(f *fixture) {
	first, second := f.consume(f.subscription()), f.consume(f.subscription())
	seen, acked := map[string]bool{}, map[string]bool{}
	ack := func(a *arrival) {
		acked[a.Identity] = true
		a.ack()
	}
	for deadline := time.Now().Add(patience); len(seen) < 2; { // until both have queues
		if time.Now().After(deadline) {
			f.t.Fatal("only one of two consumers gets messages")
		}
		f.sendOneByOne(4)
		for range 4 {
			select {
			case a := <-first.arrivals:
				ack(a)
				seen["first"] = true
			case a := <-second.arrivals:
				ack(a)
				seen["second"] = true
			case <-time.After(patience):
				f.t.Fatal("no delivery")
			}
		}
	}
	held := holdOne(f, first, second, acked, ack)
	first.stop()
	for { // repeats of acked ones are allowed
		a := second.next()
		a.ack()
		if a.Identity == held.Identity {
			return
		}
	}
}

// holdOne sends until first gets a message, and leaves that one held. A repeat of
// an acked one, of a queue that has moved meanwhile, would not come again.
func holdOne(f *fixture, first, second *consuming, acked map[string]bool, ack func(*arrival)) *arrival {
	f.t.Helper()
	for range 100 {
		f.sendOneByOne(1)
		select {
		case a := <-first.arrivals:
			if !acked[a.Identity] {
				return a
			}
			ack(a)
		case a := <-second.arrivals:
			ack(a)
		case <-time.After(patience):
			f.t.Fatal("no delivery")
		}
	}
	f.t.Fatal("the first consumer gets nothing")
	return nil
}

func consumeNever(f *fixture) {
	ctx, cancel := context.WithCancel(f.t.Context())
	cancel()
	err := f.backend.NewConsumer(f.t, f.subscription()).Consume(ctx, func(context.Context, *message.Delivery) error { return nil })
	if err != nil {
		f.t.Errorf("consume: %v", err)
	}
}
