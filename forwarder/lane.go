package forwarder

import (
	"context"
	"errors"
	"math"
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
	share    chan struct{} // a lane has at most half of the slots: the other topics need some
	turn     *turn
	rate     *rate.Limiter // of messages
	keys     keys

	mu       sync.Mutex
	failures int       // in a row; attempts that ran at the same time count as one
	limit    int       // messages in a batch: halved by a failure, doubled by a success
	atOnce   bool      // the next attempt does not wait
	since    time.Time // of the first failure in the row; zero: there is none
}

func newLane(f *Forwarder, topic string) *lane {
	f.ramp.join()
	return &lane{
		f: f, topic: topic, limit: f.opts.MaxMessages, share: make(chan struct{}, max(1, f.opts.Concurrency/2)),
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

// run leases and attempts until ctx is done or the spool ends.
func (l *lane) run(ctx context.Context) {
	defer l.attempts.Wait()
	for l.ready(ctx) {
		failing := l.failing()
		if err := l.bind(ctx); err != nil && l.gone(ctx, err) {
			return
		}
		leases, err := l.f.spool.Lease(ctx, l.topic, spool.LeaseOptions{MaxMessages: l.batchLimit(), MaxBytes: l.f.opts.MaxBytes})
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
		var end func()
		if l.rate.WaitN(ctx, len(leases)) == nil {
			end = l.start(ctx)
		}
		if end == nil {
			l.f.spool.Release(leases)
			return
		}
		if leases = l.f.spool.Current(leases); len(leases) == 0 { // all have expired while they waited
			l.end()
			continue
		}
		l.attempts.Go(func() {
			defer end()
			l.attempt(context.WithoutCancel(ctx), leases)
		})
	}
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

// ready waits out the backoff of a failing lane, and lets it have only one
// attempt at a time. It returns false when ctx is done.
func (l *lane) ready(ctx context.Context) bool {
	if wait := l.backoff(); wait > 0 {
		l.attempts.Wait()
		return pause(ctx, wait)
	}
	return ctx.Err() == nil
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

// batchLimit is one message while a broker waits for a probe.
func (l *lane) batchLimit() int {
	if l.f.prober != nil && l.f.prober.Probe(l.topic) {
		return 1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return min(l.limit, l.rate.Burst())
}

// begin takes a slot for an attempt.
func (l *lane) begin(ctx context.Context) bool {
	select {
	case l.share <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	if l.f.slots.take(ctx, l.turn) {
		return true
	}
	<-l.share
	return false
}

func (l *lane) end() {
	l.f.slots.give()
	<-l.share
}

// succeeded opens the lane up again.
func (l *lane) succeeded() {
	l.f.ramp.succeeded()
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
	if se == nil || !se.Parked {
		l.f.ramp.failed(l.topic)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failures = max(l.failures, before+1); l.since.IsZero() {
		l.since = time.Now()
		l.f.failing.Store(l.topic, nil)
		l.f.log.Warn("the broker does not take messages; they are kept and tried again", "topic", l.topic, "error", err)
	}
	l.limit = max(1, l.limit/2)
	if broker.OutcomeOf(err) == message.OutcomeUnknown || se != nil && (se.Parked || se.Probe) {
		l.limit = 1
	}
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
