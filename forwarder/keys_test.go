package forwarder_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// bubble runs a forwarder of a cluster over a real spool, in a time of its own.
type bubble struct {
	*rig
	cluster  *cluster
	moving   *moving
	log      bytes.Buffer
	registry *prometheus.Registry
}

func inBubble(t *testing.T, opts forwarder.Options, c func(t *testing.T) *cluster, do func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{cluster: c(t), registry: prometheus.NewRegistry()}
		b.rig = open(t, nil)
		b.moving = &moving{Spool: b.Spool}
		f := forwarder.New(opts, b.moving, b.cluster, slog.New(slog.NewTextHandler(&b.log, nil)))
		f.Register(b.registry)
		b.run(f)
		do(b)
		b.cluster.late0.Wait()
		b.cluster.inOrder()
	})
}

// moving is a spool that now and then does not move keys.
type moving struct {
	*spool.Spool

	fails, calls atomic.Int32
}

func (m *moving) Move(ctx context.Context, topic, from, to string) error {
	if m.calls.Add(1); m.fails.Add(-1) >= 0 {
		return errors.New("the disk is slow")
	}
	return m.Spool.Move(ctx, topic, from, to)
}

// two is a cluster of two brokers with a topic of two queues on each.
func two(t *testing.T) *cluster {
	c := newCluster(t, 1, "a", "b")
	c.spread("orders", 2)
	return c
}

// on finds a key that is bound to a broker while all is well.
func (b *bubble) on(name string) string {
	b.t.Helper()
	for n := range 100 {
		key := fmt.Sprint("key-", n)
		id := b.accept(draft("orders", "find", key))[0]
		got, err := b.Wait(b.t.Context(), id)
		if err != nil {
			b.t.Fatal(err)
		}
		if brokerOf(got.Confirmation.Queue) == name {
			return key
		}
	}
	b.t.Fatal("no key goes to " + name)
	return ""
}

// after returns where a message is after some time.
func (b *bubble) after(d time.Duration, id message.ID) message.Receipt {
	b.t.Helper()
	time.Sleep(d)
	got, err := b.Receipt(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

func (b *bubble) moves(reason string) (n float64) {
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "remora_ordering_moves_total" && m.GetLabel()[0].GetValue() == reason {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// By default a key waits for its broker, for as long as it takes.
func TestKeyWaitsForItsBroker(t *testing.T) {
	for name, f := range map[string]fault{"down": down, "gone": gone, "hanging": hanging} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, forwarder.Options{}, two, func(b *bubble) {
				key := b.on("b")
				b.cluster.set("b", f)
				id := b.accept(draft("orders", "waits", key))[0]
				if got := b.after(2*time.Hour, id); got.State.Settled() {
					t.Errorf("after two hours: %+v", got)
				}
				other := b.accept(draft("orders", "free", ""))[0]
				if got := b.after(time.Minute, other); got.State != message.StateConfirmed {
					t.Errorf("what has no key waits, too: %+v", got)
				}
				b.cluster.heal()
				if got := b.after(time.Minute, id); got.State != message.StateConfirmed || brokerOf(got.Confirmation.Queue) != "b" {
					t.Errorf("at last: %+v", got)
				}
			})
		})
	}
}

// With failover_after a key moves after that time and not before; that is said;
// and it comes back when its broker is well and it has no messages.
func TestKeyMovesAfterFailoverAfter(t *testing.T) {
	opts := forwarder.Options{FailoverAfter: 10 * time.Minute}
	inBubble(t, opts, two, func(b *bubble) {
		key := b.on("b")
		b.cluster.set("b", down)
		ids := b.accept(draft("orders", "1", key), draft("orders", "2", key))
		if got := b.after(9*time.Minute, ids[0]); got.State.Settled() {
			t.Errorf("too early: %+v", got)
		}
		for _, id := range ids {
			if got := b.after(2*time.Minute, id); got.State != message.StateConfirmed || brokerOf(got.Confirmation.Queue) != "a" {
				t.Errorf("in time: %+v", got)
			}
		}
		if n := b.moves("failing"); n != 1 {
			t.Errorf("%v moves are counted", n)
		}
		if text := b.log.String(); !strings.Contains(text, "from=b/") || !strings.Contains(text, "to=a/") {
			t.Errorf("it is not said: %s", text)
		}
		b.cluster.heal()
		b.after(time.Minute, b.accept(draft("orders", "wakes", ""))[0])
		if got := b.after(time.Minute, b.accept(draft("orders", "3", key))[0]); got.Confirmation == nil || brokerOf(got.Confirmation.Queue) != "b" {
			t.Errorf("when all is well again: %+v", got)
		}
	})
}

// With no other broker there is nowhere to go.
func TestKeyStaysWhereNoOtherBrokerTakesTheTopic(t *testing.T) {
	opts := forwarder.Options{FailoverAfter: time.Minute}
	inBubble(t, opts, two, func(b *bubble) {
		key := b.on("b")
		b.cluster.set("a", down)
		b.cluster.set("b", down)
		id := b.accept(draft("orders", "1", key))[0]
		if got := b.after(time.Hour, id); got.State.Settled() || b.moves("failing") != 0 {
			t.Errorf("%+v", got)
		}
		b.cluster.heal()
		if got := b.after(time.Minute, id); got.State != message.StateConfirmed || brokerOf(got.Confirmation.Queue) != "b" {
			t.Errorf("%+v", got)
		}
	})
}

// A queue that its topic has not got any more is not waited for.
func TestKeyOfAQueueThatIsGoneMoves(t *testing.T) {
	inBubble(t, forwarder.Options{}, func(t *testing.T) *cluster {
		c := newCluster(t, 1, "a")
		c.spread("orders", 8)
		return c
	}, func(b *bubble) {
		b.cluster.set("a", down)
		var drafts []spool.Draft
		for n := range 60 {
			drafts = append(drafts, draft("orders", fmt.Sprint(n), fmt.Sprint("key", n%20)))
		}
		b.accept(drafts...)
		time.Sleep(time.Second)
		b.cluster.spread("orders", 2)
		b.cluster.heal()
		time.Sleep(30 * time.Second)
		b.drained()
		if b.moves("gone") == 0 || b.moves("failing") != 0 {
			t.Error("no queue was moved")
		}
	})
}

// A change of the number of queues leaves a key where it is while it waits.
func TestQueuesChangeWhileKeysWait(t *testing.T) {
	inBubble(t, forwarder.Options{}, two, func(b *bubble) {
		key := b.on("b")
		b.cluster.set("b", down)
		ids := b.accept(draft("orders", "1", key))
		b.after(time.Second, ids[0])
		b.cluster.spread("orders", 7)
		b.after(time.Second, b.accept(draft("orders", "wakes", ""))[0])
		ids = append(ids, b.accept(draft("orders", "2", key), draft("orders", "3", key))...)
		b.cluster.heal()
		queue := ""
		for _, id := range ids {
			got := b.after(time.Minute, id)
			if got.Confirmation == nil || queue != "" && got.Confirmation.Queue != queue {
				t.Errorf("%+v, want queue %s", got, queue)
			}
			queue = got.Confirmation.Queue
		}
	})
}

// three is a cluster of three with a queue on each.
func three(t *testing.T) *cluster {
	c := newCluster(t, 1, "a", "b", "c")
	c.spread("orders", 1)
	return c
}

// leave has the keys of brokers leave them, since they are down for long.
func (b *bubble) leave(brokers ...string) (keys []string) {
	b.t.Helper()
	for _, name := range brokers {
		keys = append(keys, b.on(name))
	}
	var ids []message.ID
	for i, name := range brokers {
		b.cluster.set(name, down)
		ids = append(ids, b.accept(draft("orders", "leaves", keys[i]))[0])
	}
	time.Sleep(11 * time.Minute)
	for _, id := range ids {
		if got := b.after(0, id); got.Confirmation == nil || brokerOf(got.Confirmation.Queue) != "a" {
			b.t.Fatalf("%+v", got)
		}
	}
	return keys
}

// goes returns the brokers that take the next message of each key, at once.
func (b *bubble) goes(keys ...string) (brokers []string) {
	b.t.Helper()
	var drafts []spool.Draft
	for _, key := range keys {
		drafts = append(drafts, draft("orders", "goes", key))
	}
	ids := b.accept(drafts...)
	time.Sleep(time.Minute)
	for i, id := range ids {
		got := b.after(0, id)
		if got.Confirmation == nil || got.Attempts > 1 {
			b.t.Fatalf("%s: %v after %d attempts: %s", keys[i], got.State, got.Attempts, got.LastError)
		}
		brokers = append(brokers, brokerOf(got.Confirmation.Queue))
	}
	return brokers
}

// One of two brokers that keys have left is back: those of the other one stay away from
// it, and do not wait for it once more. So it is when the spool does not move them at once,
// and when the topic gets more queues.
func TestKeysStayAwayFromABrokerThatIsNotBack(t *testing.T) {
	var all []string
	for n := range 30 {
		all = append(all, fmt.Sprint("any-", n))
	}
	for name, c := range map[string]struct {
		back  bool   // b is
		queue string // that there is from now on, besides
		fails int32  // moves
	}{
		"one is back":                       {true, "", 0},
		"one is back, and keys do not move": {true, "", 3},
		"there is a queue more":             {false, "a/1", 0},
		"and keys do not move":              {false, "a/1", 20},
		"all of that":                       {true, "a/1", 3},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, forwarder.Options{FailoverAfter: 10 * time.Minute}, three, func(b *bubble) {
				keys := append(b.leave("b", "c"), all...)
				b.cluster.add("orders", c.queue)
				b.moving.fails.Store(c.fails)
				if c.back {
					b.cluster.set("b", well)
				}
				before := b.moving.calls.Load()
				b.after(time.Second, b.accept(draft("orders", "wakes", ""))[0])
				if got := b.goes(keys...); slices.Contains(got, "c") || slices.Contains(got, "b") != c.back || !slices.Contains(got, "a") {
					t.Errorf("%v take the keys", got)
				}
				if n := b.moving.calls.Load() - before; n > c.fails+2 {
					t.Errorf("keys were moved %d times", n)
				}
				b.cluster.heal()
				b.after(time.Minute, b.accept(draft("orders", "wakes", ""))[0])
				if got := b.goes(keys...); !slices.Contains(got, "c") || c.queue == "" && (got[0] != "b" || got[1] != "c") {
					t.Errorf("when all are back %v do", got)
				}
			})
		})
	}
}

// Where nothing else finds out that a broker is back, the keys that have left it try again
// after a while, and leave it again.
func TestKeysTryTheirBrokerAgain(t *testing.T) {
	inBubble(t, forwarder.Options{FailoverAfter: 10 * time.Minute}, three, func(b *bubble) {
		key := b.leave("b")[0]
		time.Sleep(11 * time.Minute)
		b.after(time.Second, b.accept(draft("orders", "wakes", ""))[0])
		id := b.accept(draft("orders", "tries", key))[0]
		if got := b.after(9*time.Minute, id); got.State.Settled() || got.Attempts < 2 {
			t.Errorf("its broker is not tried: %+v", got)
		}
		if got := b.after(2*time.Minute, id); got.Confirmation == nil || brokerOf(got.Confirmation.Queue) != "a" {
			t.Errorf("it does not leave again: %+v", got)
		}
	})
}

// A queue that failed once, and at which nothing was tried since, has not failed all the
// time when it fails again.
func TestFailureOfLongAgoMovesNoKey(t *testing.T) {
	opts := forwarder.Options{FailoverAfter: 10 * time.Minute}
	inBubble(t, opts, two, func(b *bubble) {
		key := b.on("b")
		b.cluster.set("b", down)
		id := b.accept(draft("orders", "1", key))[0]
		b.after(time.Second, id)
		if _, err := b.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		b.cluster.set("b", well)
		time.Sleep(time.Hour)
		b.cluster.set("b", down)
		id = b.accept(draft("orders", "2", key))[0]
		if got := b.after(9*time.Minute, id); got.State.Settled() || b.moves("failing") > 0 {
			t.Errorf("moved too early: %+v", got)
		}
		if got := b.after(2*time.Minute, id); got.State != message.StateConfirmed || b.moves("failing") != 1 {
			t.Errorf("not moved in time: %+v", got)
		}
	})
}

// Where a topic's rate lets a queue be tried less often than failover_after, a queue that
// failed each time has failed all the time.
func TestKeysOfASlowTopicMove(t *testing.T) {
	opts := forwarder.Options{FailoverAfter: 10 * time.Minute, Rates: map[string]float64{"orders": 4.0 / 3600}}
	inBubble(t, opts, three, func(b *bubble) {
		ofB, ofC := b.on("b"), b.on("c")
		b.cluster.set("b", down)
		b.cluster.set("c", down)
		b.accept(draft("orders", "1", ofB), draft("orders", "1", ofC))
		time.Sleep(2 * time.Hour)
		b.drained()
		if n := b.moves("failing"); n != 2 {
			t.Errorf("%v moves are counted", n)
		}
	})
}

var _ interface {
	broker.Producer
	broker.Binder
} = (*cluster)(nil)
