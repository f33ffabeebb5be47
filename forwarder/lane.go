package forwarder

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// lane forwards one topic. Its goroutine leases and starts attempts; mu guards
// what the attempts report back.
type lane struct {
	f        *Forwarder
	topic    string
	attempts sync.WaitGroup
	turn     *turn
	rate     *rate.Limiter // of messages
	paid     bool          // the rate lets one more be sent; only the lane's goroutine has it
	keys     keys

	mu       sync.Mutex
	failures int       // in a row; attempts that ran at the same time count as one
	limit    int       // messages in a batch: halved by a failure, doubled by a success
	atOnce   bool      // the next attempt does not wait
	since    time.Time // of the first failure in the row; zero: there is none
}

func newLane(f *Forwarder, topic string) *lane {
	f.slots.join()
	return &lane{
		f: f, topic: topic, limit: f.opts.MaxMessages,
		turn: newTurn(f.opts.Priorities[topic]), rate: limiterOf(f.opts.Rates[topic]),
	}
}

// limiterOf lets a tenth of a second's messages go at once, and at least one.
func limiterOf(perSecond float64) *rate.Limiter {
	if perSecond == 0 {
		return rate.NewLimiter(rate.Inf, math.MaxInt)
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond/10)))
}

// every is how long a message waits for the one before it.
func every(r *rate.Limiter) time.Duration {
	if r.Limit() == rate.Inf {
		return 0
	}
	return time.Duration(float64(time.Second) / float64(r.Limit()))
}

// run leases and attempts until ctx is done or the spool ends.
func (l *lane) run(ctx context.Context) {
	defer l.attempts.Wait()
	if l.f.locator != nil {
		l.f.locator.Locate(ctx, l.topic) // who waits for that has no slot, which others need
	}
	for l.ready(ctx) {
		failing := l.failing()
		limit := l.batchLimit()
		leases, err := l.next(ctx, limit)
		if err != nil {
			if l.gone(ctx, err) {
				return
			}
			continue
		}
		if !failing && l.failing() { // it began while we waited for these
			l.f.spool.Release(leases)
			continue
		}
		var b *batch
		if l.payFor(ctx, leases) {
			b = l.f.slots.queue(ctx, l.turn, !failing, l.full(leases, limit))
		}
		if b == nil {
			l.f.spool.Release(leases)
			return
		}
		l.attempts.Go(func() { l.inTurn(ctx, b, leases) })
	}
}

// next follows the topic's queues, and leases.
func (l *lane) next(ctx context.Context, limit int) ([]*spool.Lease, error) {
	if err := l.rebind(ctx); err != nil && (l.keys.spread || l.gone(ctx, err)) {
		return nil, err
	}
	return l.lease(ctx, limit)
}

// lease waits for the next messages, and for the queues of their keys.
func (l *lane) lease(ctx context.Context, limit int) ([]*spool.Lease, error) {
	opts := spool.LeaseOptions{MaxMessages: limit, MaxBytes: l.f.opts.MaxBytes, Weight: l.turn.weight, Later: true}
	leases, err := l.leaseNear(ctx, opts)
	if err != nil {
		return nil, err
	}
	bound, err := l.bindFirst(ctx, leases)
	if !bound && err == nil {
		return l.forProbe(leases), nil
	}
	l.f.spool.Release(leases)
	if err != nil {
		return nil, err
	}
	if leases, err = l.leaseNear(ctx, opts); err != nil {
		return nil, err
	}
	return l.forProbe(leases), nil
}

// forProbe keeps the first of leases, and gives the others back, where a broker waits for
// a single message to probe it and that may be the one.
func (l *lane) forProbe(leases []*spool.Lease) []*spool.Lease {
	queue := leases[0].Queue
	elsewhere := queue != "" && l.f.binder != nil && l.f.binder.Serves(l.topic, queue)
	if len(leases) == 1 || elsewhere || l.f.prober == nil || !l.f.prober.Probe(l.topic) {
		return leases
	}
	l.f.spool.Release(leases[1:])
	return leases[:1]
}

// full reports whether no more fits into a batch.
func (l *lane) full(leases []*spool.Lease, limit int) bool {
	bytes := 0
	for _, lease := range leases {
		bytes += lease.Size()
	}
	return len(leases) >= limit || bytes >= l.f.opts.MaxBytes/2
}

// inTurn attempts a batch when it has a slot. It gives the leases back when the
// lane began to fail meanwhile, and makes one attempt at a time.
func (l *lane) inTurn(ctx context.Context, b *batch, leases []*spool.Lease) {
	if !l.f.slots.take(ctx, b) {
		l.f.spool.Release(leases)
		return
	}
	defer l.f.slots.give(b)
	if b.ramped && l.failing() {
		l.f.spool.Release(leases)
		return
	}
	leases = l.f.spool.Payloads(ctx, leases)
	leases = l.f.spool.Current(leases) // the others have expired while they waited, or the topic was paused; right before the attempt
	due, timed := parted(leases)
	if len(due) == 0 || l.attempt(ctx, due) {
		l.attemptTimed(ctx, timed)
		return
	}
	l.f.spool.Release(timed)
}

// gone reports whether the lane is over. A spool that cannot be read for once
// is asked again.
func (l *lane) gone(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, spool.ErrClosed) || errors.Is(err, spool.ErrReadOnly) || errors.Is(err, spool.ErrUnknown) {
		return true
	}
	l.f.log.Error("the spool does not do what the forwarder asks; trying again", "topic", l.topic, "error", err)
	return !pause(ctx, time.Second)
}

// ready waits until the topic's rate lets a message be sent, and out the backoff of a
// failing lane, and lets that have only one attempt at a time. It returns false when ctx
// is done.
func (l *lane) ready(ctx context.Context) bool {
	l.paid = l.paid || l.rate.Wait(ctx) == nil
	if l.failing() {
		l.attempts.Wait() // first: they may end the row, or make the wait longer
	}
	if wait := l.backoff(); wait > 0 {
		return pause(ctx, wait)
	}
	return ctx.Err() == nil
}

// payFor waits until the rate lets leases be sent. The first of them is paid for, so that
// is a tenth of a second at most, and what waits longer is not leased.
func (l *lane) payFor(ctx context.Context, leases []*spool.Lease) bool {
	l.paid = false
	return l.rate.WaitN(ctx, len(leases)-1) == nil
}

func (l *lane) backoff() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failures == 0 || l.atOnce {
		l.atOnce = false
		return 0
	}
	return l.f.opts.Retry.Delay(l.failures, backoff.Random{})
}

func (l *lane) failing() bool { return l.inARow() > 0 }

// inARow is how many attempts have failed.
func (l *lane) inARow() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures
}

func (l *lane) batchLimit() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return min(l.limit, l.rate.Burst())
}

// succeeded opens the lane up again.
func (l *lane) succeeded() {
	l.f.slots.succeeded()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failures > 0 {
		l.f.failing.Delete(l.topic)
		l.f.log.Info("the broker takes messages again", "topic", l.topic, "failed_for", time.Since(l.since).Round(time.Millisecond))
	}
	l.failures, l.since = 0, time.Time{}
	l.limit = min(l.limit*2, l.f.opts.MaxMessages)
}

// failed slows the lane down. Where the broker may have stored the messages it
// gets one at a time from now on: each retry leaves another copy there. That
// holds for every unknown outcome: RocketMQ 5.3.3 was seen to store a message
// that it answered with SYSTEM_ERROR.
//
// Where another broker takes the topic's messages, or another queue, the lane goes
// on: the failing one is avoided, and what is bound to it waits by itself.
//
// before is how many had failed when the attempt began: those that ran beside it
// tell of the same moment, and must not make the wait longer each.
func (l *lane) failed(before int, err error) {
	se := (*broker.SendError)(nil)
	if errors.As(err, &se) && (se.Elsewhere || se.Gone) {
		return
	}
	defer l.f.slots.failed(l.topic, l.turn, se != nil && se.Parked) // after the lane's own word: what waits looks at it
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.failing.Store(l.topic, shortened(err))
	if l.failures = max(l.failures, before+1); l.since.IsZero() {
		l.since = time.Now()
		l.f.log.Warn("the broker does not take messages; they are kept and tried again", "topic", l.topic, "error", err)
	}
	l.limit = max(1, l.limit/2)
	if broker.OutcomeOf(err) == message.OutcomeUnknown || se != nil && (se.Parked || se.Probe) {
		l.limit = 1
	}
}

// shortened is what an error says, so short that one for each topic takes little memory.
func shortened(err error) string {
	const most = 200
	text := err.Error()
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// pause waits; false: ctx was done first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
