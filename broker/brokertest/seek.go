package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

var seekCases = []testCase{
	{"a group is moved to a time, and consumes from there", 2, seekToATime},
	{"a group that has a member is not moved", 2, seekWithMembers},
	{"where a group begins is told", 2, startsAreTold},
}

// seeker makes a consumer that consumes nothing. A backend that tells no places has
// none of these cases to pass.
func (f *fixture) seeker(sub broker.Subscription) broker.Seeker {
	f.t.Helper()
	s, ok := f.backend.NewConsumer(f.t, sub).(broker.Seeker)
	if !ok {
		f.t.Fatal("the consumer is no broker.Seeker")
	}
	return s
}

// halves sends n messages, and n more, and returns a time between.
func (f *fixture) halves(n int) (late []*message.Message, between time.Time) {
	f.t.Helper()
	f.sendOneByOne(n)
	time.Sleep(100 * time.Millisecond) // brokers count in milliseconds
	between = time.Now()
	time.Sleep(100 * time.Millisecond)
	return f.sendOneByOne(n), between
}

// places asks, and adds up.
func (f *fixture) places(s broker.Seeker, at time.Time) (all []broker.Place, sum broker.Place) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	all, err := s.Places(ctx, at)
	if err != nil {
		f.t.Fatalf("places: %v", err)
	}
	for _, p := range all {
		sum.First, sum.Next, sum.At, sum.End = sum.First+p.First, sum.Next+p.Next, sum.At+p.At, sum.End+p.End
	}
	return all, sum
}

// seek moves the group, as soon as a member that has left is forgotten.
func (f *fixture) seek(s broker.Seeker, places []broker.Place) {
	f.t.Helper()
	to := make([]broker.Seek, len(places))
	for i, p := range places {
		to[i] = broker.Seek{Queue: p.Queue, To: p.At}
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := s.Seek(f.t.Context(), to)
		switch {
		case err == nil:
			return
		case !errors.Is(err, broker.ErrMembers) || time.Now().After(end):
			f.t.Fatalf("seek: %v", err)
		}
	}
}

func sortedBodies[T any](all []T, body func(T) []byte) string {
	var texts []string
	for _, one := range all {
		texts = append(texts, string(body(one)))
	}
	slices.Sort(texts)
	return fmt.Sprint(texts)
}

func seekToATime(f *fixture) {
	late, between := f.halves(6)
	s := f.seeker(f.subscription())
	if all, sum := f.places(s, between); len(all) != 2 || sum.Next != -2 {
		f.t.Errorf("of a group that has never been there: %+v", all)
	}
	c := f.consume(f.subscription())
	c.take(12)
	c.stop()
	all, sum := f.places(s, between)
	if sum.Next-sum.First != 12 || sum.End != sum.Next || sum.End-sum.At != 6 {
		f.t.Errorf("after all was acked: %+v", all)
	}
	f.seek(s, all)
	if again, now := f.places(s, between); now.Next != sum.At {
		f.t.Errorf("moved to %+v, and is at %+v", all, again)
	}
	c = f.consume(f.subscription())
	got := c.take(6)
	ids := func(m *message.Message) []byte { return []byte(m.ID.String()) }
	if is, want := sortedBodies(got, func(d *message.Delivery) []byte { return ids(&d.Message) }), sortedBodies(late, ids); is != want {
		f.t.Errorf("came again: %s, want %s", is, want)
	}
	c.quiet(2 * time.Second)
	c.stop()
	if all, sum = f.places(s, time.Now().Add(time.Hour)); sum.At != sum.End {
		f.t.Errorf("a time to come is at %+v", all)
	}
	if all, sum = f.places(s, time.Now().Add(-time.Hour)); sum.At != sum.First {
		f.t.Errorf("a time before all messages is at %+v", all)
	}
	f.seek(s, all)
	c = f.consume(f.subscription())
	c.take(12)
}

func seekWithMembers(f *fixture) {
	f.halves(2)
	c := f.consume(f.subscription())
	c.take(4)
	s := f.seeker(f.subscription())
	all, _ := f.places(s, time.Now().Add(-time.Hour))
	to := make([]broker.Seek, len(all))
	for i, p := range all {
		to[i] = broker.Seek{Queue: p.Queue, To: p.First}
	}
	if err := s.Seek(f.t.Context(), to); !errors.Is(err, broker.ErrMembers) {
		f.t.Errorf("seek of a group that has a member: %v", err)
	}
	c.quiet(time.Second)
	c.stop()
	if all, sum := f.places(s, time.Now()); sum.Next != sum.End {
		f.t.Errorf("its place has changed: %+v", all)
	}
}

func startsAreTold(f *fixture) {
	_, between := f.halves(4)
	started := make(chan broker.Start, 1)
	group := name(f.t, "group")
	begin := func(group string, from broker.From) (broker.Start, *consuming) {
		sub := f.subscription()
		sub.Group, sub.From, sub.Starts = group, from, func(s broker.Start) { started <- s }
		c := f.consume(sub)
		select {
		case s := <-started:
			return s, c
		case <-time.After(patience):
			f.t.Fatalf("a group that begins at %+v does not say so", from)
			return broker.Start{}, nil
		}
	}
	for _, x := range []struct {
		from             broker.From
		skipped, waiting int64
	}{{broker.From{Latest: true}, 8, 0}, {broker.From{Time: between}, 4, 4}, {broker.From{}, 0, 8}} {
		s, c := begin(group, x.from)
		if !s.New || s.Skipped != x.skipped || s.Waiting != x.waiting || s.Old != 0 {
			f.t.Errorf("from %+v: %+v, want %d skipped and %d waiting", x.from, s, x.skipped, x.waiting)
		}
		if x.waiting < 8 {
			group = name(f.t, "group")
			c.stop()
			continue
		}
		c.take(8)
		c.stop()
	}
	if s, _ := begin(group, broker.From{Latest: true}); s.New || s.Skipped != 0 || s.Waiting != 0 {
		f.t.Errorf("a group that was here: %+v", s)
	}
}
