package rocketmq

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/message"
)

const orderingProperty = message.PropOrderingKey

// claims are a member's queues of an ordered subscription. It decides what the
// library consumes, in place of its strategy: a queue is consumed from when the
// broker gave us its lock, until nothing of it is at the receiver any more.
//
// The library's own orderly mode is not used: it skips messages on any answer but
// two, wedges a queue when a callback panics, does not notice a lock that it lost,
// and unlocks before its callbacks have ended (push_consumer.go:1319-1336,
// consumer.go:557-566).
type claims struct {
	topic    string
	ctx      context.Context // of the consumer
	allocate consumer.AllocateStrategy
	log      *slog.Logger
	wake     chan struct{} // has room for one: there may be something to do for locks

	mu     sync.Mutex
	wanted []primitive.MessageQueue // by a fair share
	lines  map[primitive.MessageQueue]*line
	rested chan struct{} // closed: nothing is at the receiver any more; nil: turns are given
}

func newClaims(ctx context.Context, topic string, log *slog.Logger) *claims {
	return &claims{
		topic: topic, ctx: ctx, allocate: consumer.AllocateByAveragely, log: log,
		wake: make(chan struct{}, 1), lines: map[primitive.MessageQueue]*line{},
	}
}

// assign is the library's strategy: it drops the queues that are missing, and
// begins with those that are new (consumer.go:369-435). An error answer looks to it
// like a group without members (:940-970), which changes nothing here.
func (c *claims) assign(group, self string, all []*primitive.MessageQueue, members []string) []*primitive.MessageQueue {
	if len(all) == 0 || all[0].Topic != c.topic {
		return c.allocate(group, self, all, members) // what was sent back has lost its place already
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(members, self) {
		c.wanted = values(c.allocate(group, self, all, members))
	}
	now := time.Now()
	for q, l := range c.lines {
		if !slices.Contains(c.wanted, q) {
			c.finish(q, l, errOthersTurn)
		}
		if l.drained(now) && l.dropped.IsZero() {
			l.dropped = now
		}
	}
	c.rouse()
	var mine []*primitive.MessageQueue
	for _, q := range all {
		if l := c.lines[*q]; l != nil && l.dropped.IsZero() {
			mine = append(mine, q)
		}
	}
	return mine
}

func values(queues []*primitive.MessageQueue) (all []primitive.MessageQueue) {
	for _, q := range queues {
		all = append(all, *q)
	}
	return all
}

// finish ends a line, unless it has. mu is held.
func (c *claims) finish(q primitive.MessageQueue, l *line, why error) {
	if l.ends() {
		return
	}
	c.log.Info("queue of an ordered subscription is given back", "queue", queueName(&q), "reason", why, "running", l.running)
	l.quiet = time.Now()
	l.end(why)
	c.rouse()
}

func (c *claims) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// expect gives each message that was fetched its place, before any is delivered.
// False: nothing of the queue may be delivered, and nothing more be fetched by who
// did; the queue is fetched anew from its offset. Who fetches is known by mq, which
// is its own copy (consumer.go:704-744): the library may have dropped the queue by
// itself, and one that fetched for an earlier line may return late.
func (c *claims) expect(mq *primitive.MessageQueue, msgs []*primitive.MessageExt) bool {
	if mq.Topic != c.topic {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lines[*mq]
	if l == nil || l.ends() {
		return false
	}
	if l.puller == nil {
		l.puller = mq
	}
	if l.puller != mq {
		c.finish(*mq, l, errFetchedAnew)
		return false
	}
	l.expect(msgs)
	return true
}

// await returns when it is the message's turn; then done is owed, with what the
// receiver said. Not ok: it will never be here. The context is the receiver's.
func (c *claims) await(mq primitive.MessageQueue, m *primitive.MessageExt) (ctx context.Context, done func(acked bool), ok bool) {
	if mq.Topic != c.topic {
		return c.ctx, func(bool) {}, true
	}
	c.mu.Lock()
	l := c.lines[mq]
	var t *turn
	if l != nil {
		t = l.taken[m]
	}
	c.mu.Unlock()
	if t == nil { // of an earlier line
		return nil, nil, false
	}
	select {
	case <-t.comes:
	case <-l.ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.old() { // this process was stopped for a while: nobody else has looked yet
		c.finish(mq, l, errLockOld)
	}
	if l.ends() || c.rested != nil {
		return nil, nil, false
	}
	l.running++
	return l.ctx, func(acked bool) { c.done(m, t, acked) }, true
}

func (c *claims) done(m *primitive.MessageExt, t *turn, acked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := t.line
	if l.running--; l.running == 0 {
		l.quiet = time.Now()
	}
	if acked {
		delete(l.taken, m)
		l.next(t.key)
	}
	if l.ends() {
		c.rouse()
	}
	c.noteRest()
}

// rest gives no more turns, and returns when nobody has one, or ctx is done. It is
// called once. The locks of the queues are kept.
func (c *claims) rest(ctx context.Context) {
	c.mu.Lock()
	rested := make(chan struct{})
	c.rested = rested
	c.noteRest()
	c.mu.Unlock()
	select {
	case <-rested:
	case <-ctx.Done():
	}
}

// noteRest ends the rest that is waited for. mu is held.
func (c *claims) noteRest() {
	if c.rested == nil {
		return
	}
	for _, l := range c.lines {
		if l.running > 0 {
			return
		}
	}
	select {
	case <-c.rested:
	default:
		close(c.rested)
	}
}
