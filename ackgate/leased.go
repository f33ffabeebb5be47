package ackgate

import (
	"context"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
)

// leased holds a message that the application has taken, until it says what
// became of it, or the lease ends.
func (h *held) leased(ctx context.Context, asked time.Duration) (reason, time.Duration) {
	h.keepMark(ctx, h.lease.grant(asked))
	return h.holdLease(ctx)
}

// holdLease holds what is leased, and decides what the end of that means.
func (h *held) holdLease(ctx context.Context) (reason, time.Duration) {
	g := h.g
	h.seat.lease()
	h.park()
	gauge := g.metrics.leased.WithLabelValues(g.o.Subscription)
	gauge.Inc()
	defer gauge.Dec()
	g.leased.Add(1)
	defer g.leased.Add(-1)
	state := h.await(ctx)
	result := state.String()
	if h.lease.isUntold() {
		result = "untold"
	}
	g.metrics.leases.WithLabelValues(g.o.Subscription, result).Inc()
	switch state {
	case acked:
		return handled, 0
	case nacked:
		return notYet, h.givenBack(ctx)
	case superseded: // whoever has the key now may be done soon
		h.holding = false
		return notYet, 0
	case called, leased, expired: // the lease has ended
	}
	if g.places != nil && ctx.Err() == nil {
		return notYet, h.unpulled(ctx)
	}
	h.lapsed(ctx)
	return notYet, 0
}

// keepMark keeps others from the key for as long as the lease. Where the store
// does not take that, the lease is as good as the mark: who else may have the
// message waits for that to end.
func (h *held) keepMark(ctx context.Context, until time.Time) {
	err := h.g.extendMark(ctx, h.lease, time.Until(until))
	if err != nil && h.g.notices.due("extend") {
		h.g.log.Warn("dedupe mark not extended with the lease; another sidecar may deliver the message too",
			"message_id", h.d.Identity, "error", err)
	}
}

// await returns when the message is leased no more. When ctx ends, the
// application has Options.Grace.
func (h *held) await(ctx context.Context) leaseState {
	graceful, cancel := h.g.graceful(ctx)
	defer cancel()
	for {
		state, wait := h.lease.look(graceful.Err() != nil)
		if state != leased {
			return state
		}
		_ = sleepUnless(graceful, wait, h.lease.changed) // look tells
	}
}

// lapsed plans what follows a lease that ended: the broker's custody, at the cost
// of no attempt; in order, another call. A sidecar that stops leaves the message to
// the group.
func (h *held) lapsed(ctx context.Context) {
	h.release(ctx, false)
	if ctx.Err() != nil {
		return
	}
	if h.g.notices.due("lapsed") {
		h.g.log.Warn("lease ended without an ack; the message is delivered again", "message_id", h.d.Identity, "delivery_id", h.lease.id)
	}
	if h.g.o.Ordered {
		return
	}
	h.due, h.again = time.Now(), false
	h.back, h.costs = &broker.SendBack{}, false
}

// givenBack plans what the application wants of a message that it gave back.
func (h *held) givenBack(ctx context.Context) time.Duration {
	plea, attempt := h.lease.plead(), h.attemptNumber()
	h.tries++
	h.release(ctx, true)
	if plea.DeadLetter {
		h.doom("given back", attempt)
		return 0
	}
	if plea.Delay < 0 {
		plea.Delay = h.g.o.Retry.Delay(attempt, backoff.Random{})
	}
	return h.failed(attempt, plea.Delay, "nack")
}

// register makes the next call known by its ID, and ends the one before. It
// reports that it was acked meanwhile.
func (h *held) register() (wasAcked bool) {
	if h.lease != nil {
		if h.lease.leave(superseded) {
			return true
		}
		h.hearNoMore()
		h.g.leases.end(h.lease, h.lease.remains())
	}
	h.lease = h.g.newLease(h)
	return false
}

// acked is closed when the last delivery was acked by its ID.
func (h *held) acked() <-chan struct{} {
	if h.lease == nil {
		return nil
	}
	return h.lease.done
}

// letGo ends what is left of the last delivery here: a late ack of it has to be
// written, or is refused.
func (h *held) letGo() {
	l := h.lease
	if l == nil {
		return
	}
	l.mu.Lock()
	if l.state == called || l.state == leased {
		l.to(expired)
	}
	l.gone = true
	kept := l.rest
	l.mu.Unlock()
	h.g.leases.end(l, kept)
	if kept == nothing || !h.g.keeps(l.mark) {
		h.hearNoMore() // nobody would know of a 200
	}
}
