package ackgate

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// settle decides what an answer means for the message.
func (h *held) settle(ctx context.Context, a push.Answer) (reason, time.Duration) {
	switch said := h.lease.answered(a); {
	case said == acked:
		return handled, 0
	case a.Disposition == push.Done:
		h.finish(ctx)
		return handled, 0
	case said == nacked:
		return notYet, h.givenBack(ctx)
	case a.Disposition == push.Leased || said == leased:
		return h.leased(ctx, a.Lease)
	}
	switch a.Disposition {
	case push.DeadLetter:
		h.release(ctx, true)
		h.doom("rejected: "+a.Code(), h.attemptNumber())
		return notYet, 0
	case push.Wait:
		h.release(ctx, false)
		return notYet, min(max(a.RetryAfter, minWait), h.g.o.MaxHold)
	case push.Unreachable:
		h.release(ctx, false)
		return notYet, 0 // the door makes it wait
	default:
		attempt := h.attemptNumber()
		h.tries++
		h.release(ctx, true)
		return notYet, h.failed(attempt, h.g.o.Retry.Delay(attempt, backoff.Random{}), a.Code())
	}
}

// finish writes done, and acks also when it cannot: the handler did answer
// 200, and holding the message would call it again.
func (h *held) finish(ctx context.Context) {
	l := h.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == acked {
		return
	}
	h.g.noteHandled(l.number)
	if err := h.g.writeDone(ctx, h.key, h.mark); err != nil {
		h.g.sayUnmarked(h.d.Identity, err)
	}
	l.to(acked)
}

// failed plans what follows an attempt that failed with code: a short wait here,
// or a longer one in the broker's custody.
func (h *held) failed(attempt int, delay time.Duration, code string) (wait time.Duration) {
	if h.g.o.Ordered {
		return h.failedInOrder(attempt, delay, code)
	}
	if attempt >= h.g.o.MaxAttempts {
		h.doom("out of attempts: "+code, attempt)
		return 0
	}
	h.due = time.Now().Add(delay)
	if h.inPlace+delay <= h.g.o.InPlace {
		h.inPlace += delay
		return delay
	}
	h.back, h.costs = &broker.SendBack{}, true
	return 0
}

// doom makes the message a dead letter as soon as the broker takes it. The broker
// does not take the cause with it.
func (h *held) doom(cause string, attempts int) {
	h.back = &broker.SendBack{DeadLetter: true}
	if h.g.o.Died != nil {
		h.g.o.Died(h.d, cause, attempts)
	}
	if h.g.notices.due("dead letter") {
		h.g.log.Warn("message becomes a dead letter", "message_id", h.d.Identity, "cause", cause)
	}
}

// giveBack asks the broker to take the message, when that may be tried: at most
// once a minute for a message, and by one message at a time while it fails. After
// an answer that it is busy, and has no copy, that is soon.
func (h *held) giveBack(ctx context.Context) reason {
	if time.Now().Before(h.askAt) {
		return notYet
	}
	v, wait, _ := h.g.brokerDoor(h.d).try()
	if v.d == nil {
		if wait == math.MaxInt64 { // another message's turn
			wait = askSoon
		}
		h.g.refusals.follow(h)
		h.askAt = time.Now().Add(min(wait, askAgain))
		return notYet
	}
	seen := broken // also when SendBack panics
	defer func() { v.leave(seen) }()
	if err := h.sendBack(ctx); err != nil {
		if errors.Is(err, broker.ErrBusy) {
			seen, h.askAt = tooBusy, time.Now().Add(askSoon)
		}
		h.refused(ctx, err)
		return notYet
	}
	seen = working
	return h.taken(ctx)
}

func (h *held) sendBack(ctx context.Context) error {
	back := *h.back
	if !back.DeadLetter {
		back.Delay = max(time.Until(h.due), 0)
	}
	h.askAt = time.Now().Add(askAgain)
	graceful, leave := h.g.graceful(ctx) // cut off, it may be stored, and the message delivered again
	defer leave()
	ctx, cancel := context.WithTimeout(graceful, sendBackTimeout)
	defer cancel()
	undo := h.noteReturn()
	err := h.g.consumer.SendBack(ctx, h.d, back)
	if err != nil && broker.OutcomeOf(err) != message.OutcomeUnknown {
		undo()
	}
	return err
}

// noteReturn notes what the message's redelivery will have cost. The broker may
// deliver it before it has answered, and also when its answer is lost.
func (h *held) noteReturn() (undo func()) {
	if h.back.DeadLetter {
		return func() {}
	}
	h.g.free.sent(h.d.Identity, h.free, h.costs)
	return func() { h.g.free.sent(h.d.Identity, h.free, true) }
}

// taken: the broker confirmed that it has the message.
func (h *held) taken(ctx context.Context) reason {
	h.g.metrics.sendBacks.WithLabelValues(h.g.o.Subscription, "confirmed").Inc()
	if !h.back.DeadLetter {
		return sentBack
	}
	h.g.free.forget(h.d.Identity)
	if h.g.store != nil {
		// Failing only means that a redrive has fewer attempts.
		_ = h.g.insist(ctx, func(ctx context.Context) error { return h.g.store.Forget(ctx, h.key, h.mark) })
	}
	return deadLetter
}
