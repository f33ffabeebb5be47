package embedded

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

func TestEachGroupGetsEachMessageOnce(t *testing.T) {
	b := open(t, Options{})
	send(t, b, msgs(0, 50)...)
	other := sub()
	other.Group = "h"
	g1, g2, h := consume(t, b, sub(), nil), consume(t, b, sub(), nil), consume(t, b, other, nil)
	for n := 50; n < 100; n++ {
		send(t, b, msg(n))
	}
	if err := each(h.take(100), 1); err != nil {
		t.Error(err)
	}
	eventually(t, b, "all acked", func(s Stats) bool { return s.Groups["g"].Acked == 100 && s.Groups["g"].Lag == 0 })
	g1.stop()
	g2.stop()
	h.stop()
	seen := g1.take(len(g1.got))
	for id, n := range g2.take(len(g2.got)) {
		seen[id] += n
	}
	if len(seen) != 100 || each(seen, 1) != nil {
		t.Errorf("the group got %d messages: %v", len(seen), each(seen, 1))
	}
}

func TestAckedMessagesDoNotComeAgain(t *testing.T) {
	b := open(t, Options{})
	send(t, b, msgs(0, 20)...)
	r := consume(t, b, sub(), nil)
	r.take(20)
	r.stop()
	b = reopen(t, b)
	if s := b.Stats().Groups["g"]; s.Acked != 20 || s.Lag != 0 {
		t.Errorf("after a restart: %+v", s)
	}
	send(t, b, msg(20))
	r = consume(t, b, sub(), nil)
	if d := r.next(); d.ID != msg(20).ID {
		t.Errorf("came again: %s", d.ID)
	}
	r.quiet()
	r.stop()
}

func TestNothingPassesTheLowestUnackedMessage(t *testing.T) {
	b := open(t, Options{Queues: 1})
	send(t, b, msgs(0, 10)...)
	hold := msg(3).ID
	r := consume(t, b, sub(), func(ctx context.Context, d *message.Delivery) error {
		if d.ID != hold {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	r.take(9)
	eventually(t, b, "others acked", func(s Stats) bool { return s.Groups["g"].Acked == 9 })
	r.stop()

	r = consume(t, reopen(t, b), sub(), nil)
	seen := r.take(7)
	if seen[hold] != 1 || seen[msg(2).ID] != 0 || seen[msg(9).ID] != 1 {
		t.Errorf("from the held message on all should come again: %v", seen)
	}
	r.quiet()
	r.stop()
}

func TestOneStuckMessageStopsItsQueueAtTheSpan(t *testing.T) {
	b := open(t, Options{Queues: 1})
	for n := 0; n < maxSpan+20; n += 102 {
		send(t, b, msgs(n, n+102)...)
	}
	release := make(chan struct{})
	r := consume(t, b, sub(), func(ctx context.Context, d *message.Delivery) error {
		if d.ID == msg(0).ID {
			<-release
		}
		return nil
	})
	r.take(maxSpan - 1)
	r.quiet()
	close(release)
	r.take(21)
	r.stop()
}

func TestARefusedDeliveryComesAgain(t *testing.T) {
	b := open(t, Options{})
	send(t, b, msg(0))
	var calls gathered
	r := consume(t, b, sub(), func(_ context.Context, d *message.Delivery) error {
		if calls.add(d.ID) < 3 {
			return errors.New("not now")
		}
		return nil
	})
	r.take(3)
	r.quiet()
	r.stop()
}

func TestTagsFilter(t *testing.T) {
	b := open(t, Options{})
	for n, tag := range []string{"a", "b", "", "c", "a"} {
		m := msg(n)
		m.Tag = tag
		send(t, b, m)
	}
	s := sub()
	s.Tags = []string{"a", "c"}
	r := consume(t, b, s, nil)
	seen := r.take(3)
	if seen[msg(0).ID]+seen[msg(3).ID]+seen[msg(4).ID] != 3 {
		t.Errorf("delivered %v", seen)
	}
	eventually(t, b, "the others passed", func(s Stats) bool { return s.Groups["g"].Lag == 0 && s.Groups["g"].Acked == 3 })
	r.stop()
}

func TestWhereANewGroupStarts(t *testing.T) {
	// The broker's own goroutines read the clock too, from Open on.
	var clock atomic.Int64
	b := open(t, Options{Queues: 2, now: func() time.Time { return time.UnixMilli(clock.Load()) }})
	for n := range 10 {
		clock.Store(1_000_000 + int64(n))
		send(t, b, msg(n))
	}
	tests := []struct {
		name  string
		from  broker.From
		first int
	}{
		{"first", broker.From{}, 0},
		{"latest", broker.From{Latest: true}, 10},
		{"time", broker.From{Time: time.UnixMilli(1_000_004)}, 4},
		{"before all", broker.From{Time: time.UnixMilli(1)}, 0},
		{"after all", broker.From{Time: time.UnixMilli(2_000_000)}, 10},
	}
	var joined []*running
	for _, tt := range tests {
		s := sub()
		s.Group, s.From = "start-"+strings.ReplaceAll(tt.name, " ", "-"), tt.from
		r := consume(t, b, s, nil)
		if seen := r.take(10 - tt.first); len(seen) != 10-tt.first || tt.first < 10 && seen[msg(tt.first).ID] != 1 {
			t.Errorf("%s: delivered %v", tt.name, seen)
		}
		eventually(t, b, "joined", func(st Stats) bool { _, ok := st.Groups[s.Group]; return ok })
		joined = append(joined, r)
	}
	for _, r := range joined {
		r.quiet()
		r.stop()
	}
}

func TestAGroupThatJoinedAtTheEndKeepsItsPlace(t *testing.T) {
	b := open(t, Options{})
	send(t, b, msg(0))
	s := sub()
	s.From = broker.From{Latest: true}
	early := s
	early.Group, early.Topic = "early", "later"
	for _, s := range []broker.Subscription{s, early} {
		r := consume(t, b, s, nil)
		eventually(t, b, "joined", func(st Stats) bool { _, ok := st.Groups[s.Group]; return ok })
		r.stop()
	}
	later := msg(2)
	later.Topic = "later"
	send(t, b, msg(1))
	send(t, b, later)
	b = reopen(t, b)
	for id, s := range map[message.ID]broker.Subscription{msg(1).ID: s, later.ID: early} {
		r := consume(t, b, s, nil)
		if d := r.next(); d.ID != id {
			t.Errorf("group %s got %s", s.Group, d.ID)
		}
		r.stop()
	}
}

func TestSubscriptionsThatCannotWork(t *testing.T) {
	b := open(t, Options{})
	for name, change := range map[string]func(*broker.Subscription){
		"SQL":      func(s *broker.Subscription) { s.SQL = "a > 1" },
		"topic":    func(s *broker.Subscription) { s.Topic = "a b" },
		"no group": func(s *broker.Subscription) { s.Group = "" },
		"group":    func(s *broker.Subscription) { s.Group = strings.Repeat("g", 101) },
	} {
		s := sub()
		change(&s)
		if _, err := b.Consumer(s); err == nil || !strings.Contains(err.Error(), "subscription s") {
			t.Errorf("%s: error = %v", name, err)
		}
	}
	r := consume(t, b, sub(), nil)
	eventually(t, b, "joined", func(s Stats) bool { _, ok := s.Groups["g"]; return ok })
	other := sub()
	other.Tags = []string{"x"}
	c, err := b.Consumer(other)
	if err != nil {
		t.Fatal(err)
	}
	// The member may still be on its way in; its Consume is then the refused one.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Consume(ctx, nil) }()
	select {
	case err = <-ended:
	case err = <-r.ended:
	case <-time.After(patience):
		t.Fatal("two different subscriptions of one group both run")
	}
	if !errors.Is(err, errOtherSubscription) {
		t.Errorf("error = %v", err)
	}
}

func TestConsumeIsCalledOnce(t *testing.T) {
	b := open(t, Options{})
	r := consume(t, b, sub(), nil)
	r.stop()
	if err := r.Consume(t.Context(), nil); !errors.Is(err, errConsumedTwice) {
		t.Errorf("error = %v", err)
	}
}

func TestUnreadableMessagesAreNotPassed(t *testing.T) {
	b := open(t, Options{Queues: 1})
	send(t, b, msgs(0, 3)...)
	if err := b.queue.Commit(t.Context(), pairsOp{{entryKey("orders", 0, 1), []byte("rot")}}, 1000); err != nil {
		t.Fatal(err)
	}
	s := sub()
	s.Concurrency = 1
	r := consume(t, b, s, nil)
	r.take(2)
	r.quiet()
	st := b.Stats()
	if st.Unreadable != 1 || st.Groups["g"].Lag != 1 {
		t.Errorf("stats = %+v", st)
	}
	r.stop()
	for _, again := range []func() *Broker{
		func() *Broker { return b }, // the next member of the group asks anew, as of RocketMQ
		func() *Broker { return reopen(t, b) },
	} {
		r := consume(t, again(), s, nil)
		if d := r.next(); d.ID != msg(2).ID {
			t.Errorf("delivered %s, want the message behind the unreadable one", d.ID)
		}
		r.stop()
	}
}

func TestCloseLeavesConsumeIdle(t *testing.T) {
	b := open(t, Options{})
	send(t, b, msg(0))
	r := consume(t, b, sub(), nil)
	r.next()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	r.quiet()
	r.stop()
}
