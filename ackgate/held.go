package ackgate

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// held is one delivery in the gate's hands. It belongs to one goroutine.
type held struct {
	g      *Gate
	d      *message.Delivery
	key    dedupe.Key
	effect dedupe.Fingerprint

	mark    dedupe.Mark // the last one begun
	holding bool        // mark is in progress: to be finished or released
	blind   bool        // the store could not be asked: there is no mark
	tries   int         // calls that counted, in this delivery
	free    int         // redeliveries that cost no attempt
	inPlace time.Duration
	errors  int // of the store, in a row
	since   time.Time

	deafen context.CancelFunc // ends the listening for a late answer of the last call; nil: nobody listens

	lease *lease // of the last call; nil: there was none
	seat  *seat  // from before a call to its end, or that of its lease

	back  *broker.SendBack // what the broker shall do with it; nil: nothing
	costs bool             // back is after an attempt
	askAt time.Time        // no send-back before
	due   time.Time        // no call before

	refusedAt time.Time     // by the broker, the first time; zero: it was not
	recalled  chan struct{} // has room for one: an operator wants it called for; nil: no broker refused it
	again     bool          // it is to be called for, whatever attempts it has had: until a call costs one
}

// safeTurn is turn, where a panic holds the message.
func (h *held) safeTurn(ctx context.Context) (why reason, wait time.Duration) {
	defer func() {
		if p := recover(); p != nil {
			h.g.metrics.panics.WithLabelValues(h.g.o.Subscription).Inc()
			h.g.log.Error("delivering panicked; the message is held", "message_id", h.d.Identity, "panic", p, "stack", string(debug.Stack()))
			why, wait = notYet, h.afterPanic(ctx)
		}
	}()
	return h.turn(ctx)
}

func (h *held) afterPanic(ctx context.Context) (wait time.Duration) {
	defer func() { _ = recover() }() // the store may be what panics
	h.errors++
	wait = h.g.o.Probe.Delay(h.errors, backoff.Random{})
	h.release(ctx, true)
	return wait
}

// turn takes the message one step on. It returns why it may be acked, or how
// long to hold it before the next turn.
func (h *held) turn(ctx context.Context) (reason, time.Duration) {
	if h.lease != nil && h.lease.isAcked() {
		return handled, 0 // late, by its ID
	}
	if h.back != nil && !h.isRecalled() {
		if why := h.giveBack(ctx); why != notYet {
			return why, 0
		}
		if wait := h.untilNext(); wait > 0 {
			return notYet, wait
		}
	}
	h.back = nil // called again instead
	defer h.leaveSeat()
	h.g.brake.await(ctx, h.acked())
	if h.g.places != nil {
		return h.awaitPuller(ctx)
	}
	h.awaitSeat(ctx)
	answer, why, wait := h.attempt(ctx)
	if answer == nil {
		return why, wait
	}
	return h.settle(ctx, *answer)
}

// untilNext is the time until the handler may be called, or the broker asked,
// whichever comes first. A dead letter is not called for again, unless it is recalled.
func (h *held) untilNext() time.Duration {
	ask := max(time.Until(h.askAt), time.Millisecond)
	if h.back.DeadLetter {
		return ask
	}
	return min(time.Until(h.due), ask)
}

// attempt calls the handler, if its door, a slot and the store let it; else
// there is no answer.
func (h *held) attempt(ctx context.Context) (answer *push.Answer, why reason, wait time.Duration) {
	v, err := h.g.app.enter(ctx)
	if err != nil {
		return nil, notYet, 0
	}
	seen := unseen
	defer func() { h.g.sayDoor(v.leave(seen), seen, answer) }()
	p, step, err := h.g.enter(ctx)
	if err != nil {
		return nil, notYet, 0
	}
	defer p.leave()
	how, code := unseen, ""
	defer func() { h.g.sayPace(step.leave(h.d.Identity, h.tries, how, code)) }()
	why, wait, taken := h.take(ctx, h.g.o.Timeout+leaseMargin, p)
	if !taken {
		return nil, why, wait
	}
	defer h.g.brake.end()
	a := h.call(ctx)
	seen, how, code = working, seenOf(ctx, a), a.Code()
	if a.Disposition == push.Unreachable {
		seen = broken
	}
	return &a, notYet, 0
}

// enter takes a place, and then a stride. While the handler fails nobody has one ahead:
// its slot may be held by those who wait for that stride.
func (g *Gate) enter(ctx context.Context) (*place, stride, error) {
	for {
		p, err := g.slots.enter(ctx, g.pace.isFailing)
		if err != nil {
			return nil, stride{}, err
		}
		step, err := g.pace.enter(ctx)
		switch {
		case err != nil:
			p.leave()
			return nil, stride{}, err
		case !step.probe || !p.isAhead():
			p.vain = step.failed
			return p, step, nil
		}
		p.leave()
		step.cede()
	}
}

// take makes the message ready to be handed over: it has a seat, its key, a delivery
// of its own, and the brake, which the caller ends; or there is why not. It then has a
// slot, where it is called for; p is nil where it is pulled.
func (h *held) take(ctx context.Context, lease time.Duration, p *place) (why reason, wait time.Duration, taken bool) {
	if h.seat = h.g.hands.take(h.d.Queue); h.seat == nil {
		return notYet, 0, false // somebody was faster
	}
	if why, wait, begun := h.begin(ctx, lease); !begun {
		return why, wait, false
	}
	if p != nil && !p.slot(ctx) || !h.g.brake.begin() {
		h.release(ctx, false)
		return notYet, 0, false
	}
	if h.register() {
		h.g.brake.end()
		h.release(ctx, false)
		return handled, 0, false
	}
	return notYet, 0, true
}

// begin takes the key in the store. Only a store that says so makes a repeat.
func (h *held) begin(ctx context.Context, lease time.Duration) (why reason, wait time.Duration, begun bool) {
	h.mark, h.blind = dedupe.Mark{Verdict: dedupe.Begun}, false
	if h.g.store != nil {
		m, err := h.g.store.Begin(ctx, h.key, h.effect, lease)
		h.g.countCheck(m, err)
		if err != nil && h.g.mayPass(ctx, err) {
			h.pass(err)
			return notYet, 0, true
		}
		if err != nil {
			return notYet, h.storeFailed(ctx, err), false
		}
		h.mark, h.errors = m, 0
	}
	switch h.mark.Verdict {
	case dedupe.Repeat:
		return repeat, 0, false
	case dedupe.Begun:
		h.holding = true
	default:
		// Its holder may be done long before its lease ends.
		return notYet, min(max(time.Until(h.mark.Until), 10*time.Millisecond), askHolder), false
	}
	if ctx.Err() != nil {
		h.release(ctx, false)
		return notYet, 0, false
	}
	if h.spent() && !h.again {
		// Counted before a call that this or another process did not survive.
		h.release(ctx, false)
		h.doom("unanswered", h.mark.Attempt-1)
		return notYet, 0, false
	}
	return notYet, 0, true
}

func (h *held) storeFailed(ctx context.Context, err error) time.Duration {
	h.errors++
	if ctx.Err() == nil && h.g.notices.due("store") {
		h.g.log.Error("dedupe store fails; its messages are held until it answers", "error", err)
	}
	return h.g.o.Probe.Delay(h.errors, backoff.Random{})
}

// attemptNumber counts calls: the store over redeliveries and restarts, the
// broker its redeliveries. The larger one is nearer the truth: a store may have
// lost or never had what another sidecar counted.
func (h *held) attemptNumber() int { return max(h.mark.Attempt, h.d.Attempt-h.free+h.tries, 1) }

func (h *held) call(ctx context.Context) push.Answer {
	g := h.g
	g.counted.inFlight.Inc()
	defer g.counted.inFlight.Dec()
	graceful, leave := g.graceful(ctx)
	defer leave()
	mayBeLate := g.late.reserve()
	var a push.Answer
	began := time.Now()
	defer func() { // also when the handler's client panics
		if mayBeLate && a.Late == nil {
			g.late.leave()
		}
		g.slots.note(time.Since(began))
	}()
	a = g.handler.Deliver(graceful, &push.Call{
		Delivery: h.d, ID: h.lease.id, Timeout: g.o.Timeout,
		Attempt: h.attemptNumber(), MaxAttempts: g.o.MaxAttempts, MaxLease: g.o.MaxHold, Unchecked: h.blind, MayBeLate: mayBeLate,
	})
	if a.Late != nil {
		h.overhear(a.Late) //nolint:contextcheck // it outlives the call, and has the run's
	}
	g.counted.requests.of(a.Code()).Inc()
	h.sayAnswer(a)
	return a
}

// sayAnswer logs what is wrong with an answer.
func (h *held) sayAnswer(a push.Answer) {
	g := h.g
	switch {
	case a.Disposition == push.Leased && a.Err != nil:
		if g.notices.due("lease unread") {
			g.log.Warn("handler has leased the message, for as long as may be: its MQ-Lease cannot be read",
				"message_id", h.d.Identity, "lease", g.o.MaxHold, "error", a.Err)
		}
	case a.Disposition == push.Leased && a.Lease > g.o.MaxHold:
		if g.notices.due("lease cut") {
			g.log.Warn("handler asks for a longer lease than max_hold; it gets that", "message_id", h.d.Identity, "asked", a.Lease, "lease", g.o.MaxHold)
		}
	case a.Err != nil && g.notices.due("answer "+a.Code()):
		g.log.Warn("handler did not take the message", "message_id", h.d.Identity, "attempt", h.attemptNumber(),
			"code", a.Code(), "disposition", a.Disposition.String(), "error", a.Err)
	}
}

func (g *Gate) countCheck(m dedupe.Mark, err error) {
	result := m.Verdict.String()
	switch {
	case err != nil:
		result = "error"
	case m.Conflict && m.Verdict == dedupe.Begun:
		result = "conflict"
	}
	g.counted.checks.of(result).Inc()
}

func (g *Gate) sayDoor(turned bool, seen result, a *push.Answer) {
	if seen == broken {
		g.unseen.Store(&a.Err)
	}
	if !turned {
		return
	}
	gauge, heldUp := g.metrics.unreachable.WithLabelValues(g.o.Subscription), g.metrics.heldUp.WithLabelValues(g.o.Subscription, string(Unreachable))
	if seen == broken {
		gauge.Set(1)
		heldUp.Set(1)
		g.log.Warn("handler cannot be reached; the subscription is held and the handler probed", "error", a.Err)
		return
	}
	gauge.Set(0)
	heldUp.Set(0)
	g.log.Info("handler is reached again")
}

// release frees the mark. When the store does not take it, the mark's lease
// ends by itself.
func (h *held) release(ctx context.Context, counts bool) {
	h.again = h.again && !counts
	if !h.holding || h.g.store == nil {
		return
	}
	h.holding = false
	err := h.g.insist(ctx, func(ctx context.Context) error { return h.g.store.Release(ctx, h.key, h.mark, counts) })
	if err != nil && h.g.notices.due("release") {
		h.g.log.LogAttrs(ctx, slog.LevelWarn, "dedupe mark not released; the message waits for its lease to end",
			slog.String("message_id", h.d.Identity), slog.Any("error", err))
	}
}
