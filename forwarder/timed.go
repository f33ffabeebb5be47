package forwarder

import (
	"context"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Messages that are not due yet are for the broker's own timer: it takes each of them
// alone, for in a batch it would deliver them at once. One that is due by now is sent as
// any other.

// parted are the leases of messages that are due, and those for a timer.
func parted(leases []*spool.Lease) (due, timed []*spool.Lease) {
	now := time.Now()
	isTimed := func(lease *spool.Lease) bool { return lease.TimerAt().After(now) }
	if !slices.ContainsFunc(leases, isTimed) { // as of most
		return leases, nil
	}
	for _, lease := range leases {
		if isTimed(lease) {
			timed = append(timed, lease)
		} else {
			due = append(due, lease)
		}
	}
	return due, timed
}

// askAgain is how long a message waits for brokers that take none for a timer, unless
// it is due before.
const askAgain = 15 * time.Second

// leaseNear waits for the next messages that are due, or that a broker takes for its timer
// now. The others wait by themselves: they take no turn of the lane, which it may have few of.
func (l *lane) leaseNear(ctx context.Context, opts spool.LeaseOptions) (near []*spool.Lease, err error) {
	for len(near) == 0 && err == nil {
		near, err = l.f.spool.Lease(ctx, l.topic, opts)
		near = slices.DeleteFunc(near, l.postpones)
	}
	return near, err
}

// postpones gives a lease back whose message is too far away for the timer, or met no
// broker that has one; false: it can be sent, or its time is not known before its payload
// is read.
func (l *lane) postpones(lease *spool.Lease) bool {
	at := lease.TimerAt()
	if at.IsZero() {
		return false
	}
	now := time.Now()
	if !at.After(now) {
		return false
	}
	if !at.After(now.Add(l.f.opts.Timer(l.topic))) {
		return false
	}
	l.f.spool.Postpone(lease, earlier(at, now.Add(askAgain)), "it waits until it is due, or a broker takes it for its timer")
	return true
}

// attemptTimed sends messages for the broker's timer one after the other, until one has to
// be tried again.
func (l *lane) attemptTimed(ctx context.Context, timed []*spool.Lease) {
	for i, lease := range timed {
		if ctx.Err() != nil {
			l.f.spool.Release(timed[i:])
			return
		}
		if l.postpones(lease) {
			l.hurry()
			continue
		}
		if !l.again(ctx, timed[i:i+1]) {
			l.f.spool.Release(timed[i+1:])
			return
		}
	}
}

// refusedAgain is how long a message waits whose timer a broker does not take, unless it is
// due before. By then it is nearer, or another broker is asked, or this one is another.
const refusedAgain = 10 * time.Minute

// untimed is for a message whose timer the broker refused: it waits by itself, and its lane
// goes on as it did. Where the broker has too many, it is tried again soon.
func (l *lane) untimed(lease *spool.Lease, busy bool, err error) {
	wait := refusedAgain
	if busy {
		wait = l.f.opts.Retry.Delay(lease.Attempt, backoff.Random{})
	}
	due := earlier(lease.TimerAt(), time.Now().Add(wait))
	if n := lease.Attempt; n&(n-1) == 0 { // now and then
		l.f.log.Warn("the broker does not take a message for its timer; it is kept until it is due, and tried again", "topic", l.topic, "id", lease.ID, "due", lease.TimerAt(), "next", due, "error", err)
	}
	l.f.spool.Retry([]*spool.Lease{lease}, due, message.OutcomeRetryable, err.Error())
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
