//go:build !race

package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	rmq "github.com/remora-mq/remora/test/rocketmq"
)

// checkingCluster asks for decisions each second.
var checkingCluster = sync.OnceValues(func() (*rmq.Cluster, error) {
	c, err := rmq.New(rmq.Options{Brokers: []rmq.BrokerOptions{{Extra: map[string]string{
		"transactionCheckInterval": "1000", "transactionTimeOut": "1000", "transactionCheckMax": "100",
	}}}})
	if err == nil {
		atEnd = append(atEnd, c.Close)
	}
	return c, err
})

// preparing is a topic with one queue and what keeps half messages of it.
type preparing struct {
	*rmq.Cluster

	t      *testing.T
	group  string
	topic  string
	halves *Halves
	checks chan broker.HalfCheck
}

func newPreparing(t *testing.T) *preparing {
	t.Helper()
	c, err := checkingCluster()
	must(t, err)
	must(t, c.AwaitRegistered())
	p := &preparing{Cluster: c, t: t, group: uniqueName("group"), topic: uniqueName("topic")}
	p.CreateTopic(t, p.topic, 1)
	p.restart()
	return p
}

// restart is a new process of the same group.
func (p *preparing) restart() {
	p.t.Helper()
	if p.halves != nil {
		must(p.t, p.halves.Close())
	}
	h, err := NewHalves(ProducerOptions{NameServers: p.NameServerAddrs(), Group: p.group}, testLog(p.t))
	must(p.t, err)
	checks := make(chan broker.HalfCheck, 100)
	var serving sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	serving.Go(func() {
		h.Serve(ctx, func(ctx context.Context, c broker.HalfCheck) {
			select {
			case checks <- c:
			case <-ctx.Done():
			}
		})
	})
	p.t.Cleanup(func() { stop(); serving.Wait(); must(p.t, h.Close()) })
	p.halves, p.checks = h, checks
}

func (p *preparing) prepare(m *message.Message, number uint64) message.HalfPlace {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		place, err := p.halves.Prepare(p.t.Context(), m, broker.Half{Transaction: "order-7", Number: number})
		if err == nil {
			return place
		}
		if time.Now().After(deadline) {
			p.t.Fatal(err)
		}
	}
}

func (p *preparing) asked() broker.HalfCheck {
	p.t.Helper()
	select {
	case c := <-p.checks:
		return c
	case <-time.After(time.Minute):
		p.t.Fatal("no broker asked in a minute")
		return broker.HalfCheck{}
	}
}

// delivered are the messages that consumers of the topic can read.
func (p *preparing) delivered() []rmq.Message {
	p.t.Helper()
	all, err := p.Brokers[0].Pull(p.topic, 0, 0)
	must(p.t, err)
	return all
}

func (p *preparing) awaitDelivered(want int) []rmq.Message {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if all := p.delivered(); len(all) >= want || time.Now().After(deadline) {
			if len(all) != want {
				p.t.Fatalf("%d messages are delivered, want %d", len(all), want)
			}
			return all
		}
	}
}

func (p *preparing) message() *message.Message {
	m := wireTestMessage(p.topic, "an order")
	m.Keys = []string{"7"}
	return m
}

func TestHalfMessageIsCommitted(t *testing.T) {
	p := newPreparing(t)
	m := p.message()
	place := p.prepare(m, 1)
	p.awaitDelivered(0)
	if done, err := p.halves.Committed(t.Context(), place, time.Now()); done || err != nil {
		t.Fatalf("before the commit: committed %t, %v", done, err)
	}
	must(t, p.halves.End(t.Context(), place, true))
	got := p.awaitDelivered(1)[0]
	if string(got.Body) != "an order" || got.Properties["UNIQ_KEY"] != m.ID.String() || got.Properties[message.PropHalf] != "1 order-7" {
		t.Errorf("delivered %q with %v", got.Body, got.Properties)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		done, err := p.halves.Committed(t.Context(), place, time.Now())
		must(t, err)
		if done {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("its message is not found")
		}
	}
}

// The broker notes an end up to 3 s after it has confirmed it, and may move and ask
// for the half message until then (transactionOpBatchInterval).
func TestHalfMessageIsRolledBack(t *testing.T) {
	p := newPreparing(t)
	place := p.prepare(p.message(), 1)
	must(t, p.halves.End(t.Context(), place, false))
	next := p.prepare(p.message(), 2)
	for others := 0; others < 4; { // in turns, if the first were still there
		c := p.asked()
		if others++; c.Number == 1 {
			others = 0
			must(t, p.halves.End(t.Context(), c.Place, false))
		}
	}
	must(t, p.halves.End(t.Context(), next, false))
	p.awaitDelivered(0)
}

// The broker moves a half message each time that it asks: committed where it was, it
// is asked for again, and committed where it is now, it is not.
func TestBrokerAsksForTheDecision(t *testing.T) {
	p := newPreparing(t)
	m := p.message()
	place := p.prepare(m, 3)
	c := p.asked()
	if c.MessageID != m.ID || c.Half != (broker.Half{Transaction: "order-7", Number: 3}) || c.Times < 1 {
		t.Errorf("asked %+v", c)
	}
	if c.Place.LogOffset <= place.LogOffset || c.Place.QueueOffset <= place.QueueOffset {
		t.Errorf("it is at %+v and was at %+v", c.Place, place)
	}
	want := c.Place
	want.LogOffset, want.QueueOffset, want.OffsetMessageID, want.Address = place.LogOffset, place.QueueOffset, place.OffsetMessageID, place.Address
	if want != place {
		t.Errorf("it is said to be at %+v, it is of %+v", c.Place, place)
	}
	must(t, p.halves.End(t.Context(), c.Place, true))
	p.awaitDelivered(1)
}

// A restarted process has sent nothing yet.
func TestBrokerAsksAfterARestart(t *testing.T) {
	p := newPreparing(t)
	m := p.message()
	place := p.prepare(m, 1)
	p.restart()
	began := time.Now()
	p.halves.Expect(place)
	if c := p.asked(); c.MessageID != m.ID {
		t.Errorf("asked %+v", c)
	}
	t.Logf("asked after %v", time.Since(began))
	must(t, p.halves.End(t.Context(), place, true))
	p.awaitDelivered(1)
}

// Of a half message whose reply was lost only the topic is known.
func TestBrokerAsksForWhatItWasNotKnownToHave(t *testing.T) {
	p := newPreparing(t)
	m := p.message()
	p.prepare(m, 1)
	p.restart()
	p.halves.Expect(message.HalfPlace{Topic: p.topic})
	c := p.asked()
	if c.MessageID != m.ID {
		t.Errorf("asked %+v", c)
	}
	if gone, err := p.halves.Dropped(t.Context(), c.Place, c.Half, time.Now()); gone || err != nil {
		t.Errorf("it is dropped: %t, %v", gone, err)
	}
	must(t, p.halves.End(t.Context(), c.Place, false))
	p.awaitDelivered(0)
}

// A broker that restarts asks over a new connection, and still has the half message.
func TestBrokerRestartsBetweenPrepareAndCommit(t *testing.T) {
	p := newPreparing(t)
	place := p.prepare(p.message(), 1)
	must(t, p.Brokers[0].Kill())
	if err := p.halves.End(t.Context(), place, true); err == nil || errors.Is(err, broker.ErrNoHalf) {
		t.Fatalf("ended at a dead broker: %v", err)
	}
	var se *broker.SendError
	if _, err := p.halves.Prepare(t.Context(), p.message(), broker.Half{Transaction: "x", Number: 1}); !errors.As(err, &se) || se.Outcome != message.OutcomeRetryable {
		t.Errorf("prepared at a dead broker: %v", err)
	}
	must(t, p.Brokers[0].Start())
	c := p.asked()
	must(t, p.halves.End(t.Context(), c.Place, true))
	p.awaitDelivered(1)
	if names := p.halves.Unreached(); len(names) > 0 {
		t.Errorf("unreached are %q", names)
	}
}

func TestHalfMessageIsGone(t *testing.T) {
	p := newPreparing(t)
	place := p.prepare(p.message(), 1)
	for name, change := range map[string]func(*message.HalfPlace){
		"behind the end of the log": func(p *message.HalfPlace) { p.LogOffset += 1 << 40 },
		"another group":             func(p *message.HalfPlace) { p.Group = "another" },
		"another place":             func(p *message.HalfPlace) { p.QueueOffset += 5 },
	} {
		wrong := place
		change(&wrong)
		for _, commit := range []bool{true, false} {
			if err := p.halves.End(t.Context(), wrong, commit); !errors.Is(err, broker.ErrNoHalf) {
				t.Errorf("%s, commit %t: %v", name, commit, err)
			}
		}
	}
	p.awaitDelivered(0)
	must(t, p.halves.End(t.Context(), place, true))
	p.awaitDelivered(1)
}

// committed is where the message is in the log that was made of a half message.
func (p *preparing) committed(place message.HalfPlace) int64 {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		all, err := p.halves.find(p.t.Context(), place, place.Topic, time.Now())
		must(p.t, err)
		if len(all) > 0 {
			return all[0].CommitLogOffset
		}
	}
	p.t.Fatal("its message is not found")
	return 0
}

// Where a half message was there may be nothing, another message, or the middle of one.
func TestWhatLiesAtThePlaceOfAHalfMessage(t *testing.T) {
	p := newPreparing(t)
	m, n := p.message(), p.message()
	n.ID = message.NewID(message.SpoolID{9}, 1, 9, time.Now())
	first := p.prepare(m, 1)
	c := p.asked() // it is moved, and lies where it was, too
	second := p.prepare(n, 1)
	third := p.prepare(m, 2)
	ordinary, swapped, inside, behind := first, first, first, first
	must(t, p.halves.End(t.Context(), second, true))
	p.awaitDelivered(1)
	ordinary.LogOffset = p.committed(second)
	swapped.LogOffset, swapped.QueueOffset = second.LogOffset, second.QueueOffset
	inside.LogOffset += 40
	behind.LogOffset += 1 << 40
	for place, number := range map[message.HalfPlace]uint64{first: 1, c.Place: 1, second: 1, third: 2} {
		want := broker.Half{Transaction: "order-7", Number: number}
		if there, err := p.halves.There(t.Context(), place); there != want || err != nil {
			t.Errorf("at %d: %+v, want %+v, %v", place.LogOffset, there, want, err)
		}
	}
	for name, place := range map[string]message.HalfPlace{"another half message": swapped, "a message": ordinary, "the middle of one": inside, "nothing": behind} {
		there, err := p.halves.There(t.Context(), place)
		if there != (broker.Half{}) || err != nil {
			t.Errorf("%s: %+v, %v", name, there, err)
		}
		t.Logf("%s: rolled back there: %v", name, p.halves.End(t.Context(), place, false))
	}
}

func TestNoHalfMessageIsSentWhereNobodyAnswers(t *testing.T) {
	p := newPreparing(t)
	m := p.message()
	m.Topic = fmt.Sprintf("%s-that-is-not-there", p.topic)
	var se *broker.SendError
	if _, err := p.halves.Prepare(t.Context(), m, broker.Half{Transaction: "x", Number: 1}); !errors.As(err, &se) || se.Status != "TOPIC_NOT_EXIST" {
		t.Errorf("got %v", err)
	}
}
