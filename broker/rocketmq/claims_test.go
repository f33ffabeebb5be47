package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/hooks"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"pgregory.net/rapid"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// world is a broker with a topic, and members of a group as the library would have
// them: it assigns queues, fetches, and drops results of queues that it dropped.
type world struct {
	mu      sync.Mutex
	queues  []*primitive.MessageQueue
	stored  map[primitive.MessageQueue][]string // bodies: key and number
	offsets map[primitive.MessageQueue]int
	locked  map[primitive.MessageQueue]string
	until   map[primitive.MessageQueue]time.Time
	members map[string]*fakeMember
	down    bool

	acked map[string]int // messages of a key, without gaps
	busy  map[string]string
	wrong []string
}

func newWorld(queues, keys, each int) *world {
	w := &world{
		stored: map[primitive.MessageQueue][]string{}, offsets: map[primitive.MessageQueue]int{},
		locked: map[primitive.MessageQueue]string{}, until: map[primitive.MessageQueue]time.Time{},
		members: map[string]*fakeMember{}, acked: map[string]int{}, busy: map[string]string{},
	}
	for i := range queues {
		w.queues = append(w.queues, &primitive.MessageQueue{Topic: "t", BrokerName: "b", QueueId: i})
	}
	for n := range each {
		for k := range keys {
			q := *w.queues[k%queues]
			w.stored[q] = append(w.stored[q], fmt.Sprintf("%c%d", 'a'+k, n))
		}
	}
	return w
}

// fakeMember is a member, and the locks as it sees them.
type fakeMember struct {
	w      *world
	name   string
	acker  *acker
	stop   context.CancelFunc // of the consumer
	kill   context.CancelFunc // of everything
	alive  context.Context
	ended  chan struct{}
	mu     sync.Mutex // as the library's rbMutex
	tables map[primitive.MessageQueue]*fakeQueue
	cut    bool // from the broker
	kept   bool // a lock that it could not give back
}

type fakeQueue struct {
	dropped chan struct{}
	once    sync.Once
	mu      sync.Mutex
	waiting map[int]bool
	next    int
}

func (w *world) join(name string) *fakeMember {
	ctx, stop := context.WithCancel(context.Background())
	alive, kill := context.WithCancel(context.Background())
	m := &fakeMember{w: w, name: name, stop: stop, kill: kill, alive: alive, ended: make(chan struct{}), tables: map[primitive.MessageQueue]*fakeQueue{}}
	sub := broker.Subscription{Name: "s", Topic: "t", Group: "g", Concurrency: 3, Ordered: true}
	m.acker = newAcker(ctx, sub, newReceivers(ctx, sub.Concurrency, m.receive), slog.New(slog.DiscardHandler))
	w.mu.Lock()
	w.members[name] = m
	w.mu.Unlock()
	keep, end := context.WithCancel(alive)
	var running sync.WaitGroup
	running.Go(func() { newLocks(m.acker.order, m, m.rebalance, m.acker.log).run(keep) })
	running.Go(func() { // the library's own rebalances, sooner than every 20 s
		for keep.Err() == nil {
			m.rebalance()
			select {
			case <-time.After(5 * time.Second):
			case <-keep.Done():
			}
		}
	})
	go func() {
		defer close(m.ended)
		select {
		case <-ctx.Done():
			m.acker.calls.close()
			w.leave(name)
		case <-alive.Done():
			stop()
			w.leave(name)
		}
		m.dropAll()
		end()
		running.Wait()
	}()
	return m
}

func (w *world) errorf(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

func (w *world) leave(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.members, name)
}

var errCut = errors.New("cut off")

func (m *fakeMember) reach() error {
	if m.alive.Err() != nil || m.cut || m.w.down {
		return errCut
	}
	return nil
}

func (m *fakeMember) lock(_ context.Context, _ string, queues []primitive.MessageQueue) (got []primitive.MessageQueue, err error) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := m.reach(); err != nil {
		return nil, err
	}
	for _, q := range queues {
		if w.locked[q] == "" || w.locked[q] == m.name || time.Now().After(w.until[q]) {
			w.locked[q], w.until[q] = m.name, time.Now().Add(lockLife)
			got = append(got, q)
		}
	}
	return got, nil
}

func (m *fakeMember) unlock(_ context.Context, _ string, queues []primitive.MessageQueue) error {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := m.reach(); err != nil {
		m.kept = true
		return err
	}
	for _, q := range queues {
		if w.locked[q] == m.name {
			delete(w.locked, q)
		}
	}
	return nil
}

// rebalance is doBalance.
func (m *fakeMember) rebalance() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.w.mu.Lock()
	members := slices.Sorted(maps.Keys(m.w.members))
	err := m.reach()
	m.w.mu.Unlock()
	if err != nil {
		return // no list, no rebalance
	}
	mine := m.acker.order.assign("g", m.name, m.w.queues, members)
	for q, table := range m.tables {
		if !slices.ContainsFunc(mine, func(mq *primitive.MessageQueue) bool { return *mq == q }) {
			table.drop()
			delete(m.tables, q)
		}
	}
	for _, q := range mine {
		if m.tables[*q] == nil {
			m.w.mu.Lock()
			table := &fakeQueue{dropped: make(chan struct{}), waiting: map[int]bool{}, next: m.w.offsets[*q]}
			m.w.mu.Unlock()
			m.tables[*q] = table
			go m.fetch(*q, table)
		}
	}
}

func (t *fakeQueue) drop() { t.once.Do(func() { close(t.dropped) }) }

func (t *fakeQueue) isDropped() bool {
	select {
	case <-t.dropped:
		return true
	default:
		return false
	}
}

func (m *fakeMember) dropAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.tables {
		t.drop()
	}
}

// fetch is pullMessage, with a long poll that may return after the queue was dropped.
func (m *fakeMember) fetch(q primitive.MessageQueue, table *fakeQueue) {
	polls := 0
	for at := table.next; !table.isDropped() && m.alive.Err() == nil; {
		if polls++; polls%3 == 2 {
			time.Sleep(8 * time.Second)
		}
		time.Sleep(300 * time.Millisecond)
		m.w.mu.Lock()
		err := m.reach()
		upTo := min(at+5, len(m.w.stored[q]))
		bodies := slices.Clone(m.w.stored[q][at:upTo])
		m.w.mu.Unlock()
		if err != nil || len(bodies) == 0 {
			continue
		}
		var msgs []*primitive.MessageExt
		for i, body := range bodies {
			msg := pulled(body, message.PropOrderingKey, strings.TrimRight(body, "0123456789"))
			msg.QueueOffset = int64(at + i)
			msgs = append(msgs, msg)
		}
		if _, err := m.acker.fetched(&hooks.FilterMessageContext{MQ: &q, Msg: msgs}); err != nil {
			return
		}
		if table.isDropped() {
			return
		}
		table.mu.Lock()
		for _, msg := range msgs {
			table.waiting[int(msg.QueueOffset)] = true
		}
		at, table.next = upTo, upTo
		table.mu.Unlock()
		for _, msg := range msgs {
			go m.consume(q, table, msg)
		}
	}
}

// consume is consumeMessageConcurrently.
func (m *fakeMember) consume(q primitive.MessageQueue, table *fakeQueue, msg *primitive.MessageExt) {
	if table.isDropped() {
		return
	}
	concurrent := primitive.NewConsumeConcurrentlyContext()
	concurrent.MQ = q
	_, _ = m.acker.handle(primitive.WithConcurrentlyCtx(context.Background(), concurrent), msg) // it returns success, or not at all
	if table.isDropped() {
		return
	}
	table.mu.Lock()
	delete(table.waiting, int(msg.QueueOffset))
	low := table.next
	for offset := range table.waiting {
		low = min(low, offset)
	}
	table.mu.Unlock()
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if m.reach() == nil {
		m.w.offsets[q] = max(m.w.offsets[q], low)
	}
}

// receive is the application: it sees two of a key at once, and what overtakes. What
// it does is cut short where its sidecar is killed, and takes a while to end where
// its queue goes.
func (m *fakeMember) receive(ctx context.Context, d *message.Delivery) error {
	w, body := m.w, string(d.Body)
	key, n := d.OrderingKey, 0
	_, _ = fmt.Sscanf(body, key+"%d", &n)
	w.mu.Lock()
	if other := w.busy[key]; other != "" || n > w.acked[key] {
		w.wrong = append(w.wrong, fmt.Sprintf("%s at %s, after %d of its key, while %s has one", body, m.name, w.acked[key], other))
	}
	w.busy[key] = m.name
	w.mu.Unlock()
	select {
	case <-time.After(time.Duration(50+n%7*400) * time.Millisecond):
	case <-m.alive.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy[key] = ""
	if m.alive.Err() != nil || n%5 == 4 && ctx.Err() != nil {
		return errCut
	}
	w.acked[key] = max(w.acked[key], n+1)
	return nil
}

func (w *world) done(keys, each int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range keys {
		if w.acked[string(rune('a'+k))] != each {
			return false
		}
	}
	return true
}

// settle waits until all was handled, and ends all members.
func (w *world) settle(keys, each int) {
	for deadline := time.Now().Add(time.Hour); !w.done(keys, each) && time.Now().Before(deadline); {
		time.Sleep(time.Second)
	}
	if !w.done(keys, each) {
		w.errorf("not all is handled: %v of %d", w.acked, each)
	}
	w.mu.Lock()
	left := slices.Collect(maps.Values(w.members))
	w.mu.Unlock()
	for _, m := range left {
		m.stop()
		<-m.ended
		m.kill()
	}
	time.Sleep(10 * time.Second) // all goroutines end
	w.mu.Lock()
	defer w.mu.Unlock()
	for q, name := range w.locked {
		if time.Now().Before(w.until[q]) && slices.ContainsFunc(left, func(m *fakeMember) bool { return m.name == name && !m.kept }) {
			w.errorf("%s has left, and its lock of %v stays", name, q)
		}
	}
}

// TestOrderOverMembers: whoever joins, leaves, is killed, or is cut off and comes
// back, one member at a time has a key, and its messages come in order.
func TestOrderOverMembers(t *testing.T) {
	const queues, keys, each = 4, 6, 40
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"join", "join", "leave", "kill", "cut", "heal", "outage"}), 0, 12).Draw(rt, "steps")
		waits := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond, time.Second, 7 * time.Second, 40 * time.Second, 70 * time.Second}), len(steps), len(steps)).Draw(rt, "waits")
		var wrong []string
		synctest.Test(t, func(*testing.T) {
			w := newWorld(queues, keys, each)
			all := []*fakeMember{w.join("m0")}
			for i, step := range steps {
				time.Sleep(waits[i])
				all = w.step(step, all)
			}
			w.mu.Lock()
			w.down = false
			for _, m := range all {
				m.cut = false
			}
			w.mu.Unlock()
			w.join("last")
			w.settle(keys, each)
			wrong = w.wrong
		})
		if len(wrong) > 0 {
			rt.Fatalf("%v %v: %s", steps, waits, strings.Join(wrong, "\n"))
		}
	})
}

// step does one thing to the youngest member, or the broker.
func (w *world) step(what string, all []*fakeMember) []*fakeMember {
	w.mu.Lock()
	young := all[len(all)-1]
	switch what {
	case "cut":
		young.cut = true
	case "heal":
		w.down = false
		for _, m := range all {
			m.cut = false
		}
	case "outage":
		w.down = true
	}
	w.mu.Unlock()
	switch what {
	case "join":
		all = append(all, w.join(fmt.Sprint("m", len(all))))
	case "leave":
		young.stop()
		<-young.ended
		young.kill()
	case "kill":
		young.kill()
		<-young.ended
	}
	return all
}
