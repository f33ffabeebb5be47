package brokertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

var orderedCases = []testCase{
	{"messages of an ordering key come one after the other", 1, orderedKeys},
	{"messages without an ordering key are in order, too", 1, orderedNoKey},
	{"what is parked or fails blocks its ordering key only", 1, orderedBlocked},
	{"the oldest of an ordering key comes first again", 1, orderedAgain},
	{"order holds while consumers join and leave", 4, orderedMembers},
}

// keyed sends one message after the other; "a0" has the key "a".
func (f *fixture) keyed(bodies ...string) {
	f.t.Helper()
	for _, body := range bodies {
		m := newMessage(f.topic, body)
		m.OrderingKey = strings.TrimRight(body, "0123456789")
		f.send(m)
	}
}

func (f *fixture) ordered() broker.Subscription {
	sub := f.subscription()
	sub.Ordered = true
	return sub
}

// both waits for two deliveries at once, in any order.
func (c *consuming) both(a, b string) (first, second *arrival) {
	c.t.Helper()
	first, second = c.next(), c.next()
	if string(first.Body) > string(second.Body) {
		first, second = second, first
	}
	if string(first.Body) != a || string(second.Body) != b {
		c.t.Fatalf("delivered %s and %s, want %s and %s", first.Body, second.Body, a, b)
	}
	return first, second
}

func (c *consuming) want(body string) *arrival {
	c.t.Helper()
	a := c.next()
	if string(a.Body) != body {
		c.t.Fatalf("delivered %s, want %s", a.Body, body)
	}
	return a
}

func orderedKeys(f *fixture) {
	f.keyed("a0", "a1", "b0", "a2", "b1")
	c := f.consume(f.ordered())
	a, b := c.both("a0", "b0")
	c.quiet(time.Second)
	a.ack()
	a = c.want("a1")
	b.ack()
	b = c.want("b1")
	b.ack()
	c.quiet(time.Second)
	a.ack()
	c.want("a2").ack()
}

func orderedNoKey(f *fixture) {
	f.keyed("0", "1", "a0", "2")
	c := f.consume(f.ordered())
	none, a := c.both("0", "a0")
	c.quiet(time.Second)
	none.ack()
	none = c.want("1")
	a.ack()
	c.quiet(time.Second)
	none.ack()
	c.want("2").ack()
}

func orderedBlocked(f *fixture) {
	sub := f.ordered()
	sub.Concurrency = 1
	for i := range 60 { // more than a backend fetches of a queue that is not ordered
		f.keyed(fmt.Sprint("a", i))
	}
	f.keyed("b0", "b1")
	c := f.consume(sub)
	a := c.want("a0")
	a.Park()
	c.want("b0").ack()
	c.want("b1").ack()
	c.quiet(time.Second)
	a.fail(errors.New("cannot say"))
	c.want("a0").ack()
	c.want("a1").ack()
}

func orderedAgain(f *fixture) {
	f.keyed("a0", "a1", "b0", "a2")
	c := f.consume(f.ordered())
	_, b := c.both("a0", "b0")
	b.ack()
	c.stop()
	var order []string
	again := f.consume(f.ordered())
	for !slices.Contains(order, "a2") {
		a := again.next()
		a.ack()
		if body := string(a.Body); body != "b0" { // acked, and behind the oldest
			order = append(order, body)
		}
	}
	if got := strings.Join(order, " "); got != "a0 a1 a2" {
		f.t.Errorf("after a restart: %s", got)
	}
}

// witness sees the deliveries of all consumers of a group.
type witness struct {
	mu    sync.Mutex
	done  map[string]int // messages of a key that were acked
	busy  map[string]bool
	wrong []string
}

// receive works for a moment, and notes two of a key at once, and what overtakes.
func (w *witness) receive(ctx context.Context, d *message.Delivery) error {
	key, n := d.OrderingKey, 0
	if _, err := fmt.Sscanf(string(d.Body), key+"%d", &n); err != nil {
		return err
	}
	w.mu.Lock()
	if w.busy[key] || n > w.done[key] {
		w.wrong = append(w.wrong, fmt.Sprintf("%s after %d of its key; another of it at work: %t", d.Body, w.done[key], w.busy[key]))
	}
	w.busy[key] = true
	w.mu.Unlock()
	time.Sleep(5 * time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy[key] = false
	if n%10 == 3 && ctx.Err() != nil {
		return ctx.Err() // some are cut short when their queue goes
	}
	w.done[key] = max(w.done[key], n+1)
	return nil
}

func (w *witness) total() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, done := range w.done {
		n += done
	}
	return n
}

// orderedMembers has a second consumer join, and the first leave, under load.
func orderedMembers(f *fixture) {
	const keys = 8
	w := &witness{done: map[string]int{}, busy: map[string]bool{}}
	first := f.witnessed(w)
	sent := 0
	load := func(until func() bool) {
		for deadline := time.Now().Add(patience); !until() && time.Now().Before(deadline); sent++ {
			for k := range keys {
				f.keyed(fmt.Sprint(string(rune('a'+k)), sent))
			}
		}
	}
	load(func() bool { return w.total() >= 5*keys })
	second := f.witnessed(w)
	load(func() bool { return second.delivered() > 20 })
	first.stop()
	before := second.delivered()
	load(func() bool { return second.delivered() > before+20 })
	for deadline := time.Now().Add(patience); w.total() < sent*keys && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	second.stop()
	if n := w.total(); n != sent*keys {
		f.t.Errorf("%d of %d messages were delivered: %v", n, sent*keys, slices.Sorted(maps.Keys(w.done)))
	}
	for _, wrong := range w.wrong {
		f.t.Error(wrong)
	}
}

// witnessed is a consumer whose deliveries a witness sees.
type witnessed struct {
	stop      func()
	delivered func() int
}

func (f *fixture) witnessed(w *witness) witnessed {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	n, ended := 0, make(chan error, 1)
	consumer := f.backend.NewConsumer(f.t, f.ordered())
	go func() {
		ended <- consumer.Consume(ctx, func(ctx context.Context, d *message.Delivery) error {
			mu.Lock()
			n++
			mu.Unlock()
			return w.receive(ctx, d)
		})
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			f.t.Errorf("consume: %v", err)
		}
	})
	f.t.Cleanup(stop)
	return witnessed{stop, func() int { mu.Lock(); defer mu.Unlock(); return n }}
}
