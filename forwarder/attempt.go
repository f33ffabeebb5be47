package forwarder

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// attempt sends leases once and ends them by the outcome. This is the only
// place that decides what an answer of the broker means for a message. It
// returns false when some of them will be tried again, or what is behind has to wait.
// The end of ctx does not cut it off: without an answer it would become a repeat.
func (l *lane) attempt(ctx context.Context, leases []*spool.Lease) bool {
	before := l.inARow()
	confirmations, err := l.send(ctx, leases)
	l.park(err)
	switch broker.OutcomeOf(err) {
	case message.OutcomeConfirmed:
		l.f.spool.Confirm(leases, confirmations)
		l.f.metrics.confirmed(leases)
		l.succeeded()
		l.keys.served(leases[0].Queue)
		return true
	case message.OutcomePermanent:
		if len(leases) == 1 {
			return l.bury(ctx, leases[0], err)
		}
		return l.inHalves(ctx, leases)
	default:
		if se := (*broker.SendError)(nil); errors.As(err, &se) && se.Timer != broker.TimerTaken && len(leases) == 1 {
			l.untimed(leases[0], se.Timer == broker.TimerBusy, err)
			return true
		}
		moved := l.moveKeys(context.WithoutCancel(ctx), leases[0].Queue, err) // no other attempt is made at the queue before these end
		l.retry(leases, moved, before, err)
		return false
	}
}

// park says once that an operator has to act.
func (l *lane) park(err error) {
	if status := l.f.parked.note(l.topic, err); status != "" {
		l.f.log.Error("the topic is parked: no broker takes its messages until an operator acts; they are kept", "topic", l.topic, "status", status, "error", err)
	}
}

func (l *lane) send(ctx context.Context, leases []*spool.Lease) ([]message.Confirmation, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.f.opts.AttemptTimeout)
	defer cancel()
	msgs := make([]*message.Message, len(leases))
	for i, lease := range leases {
		msgs[i] = lease.Message
	}
	confirmations, err := l.sendTo(ctx, leases[0].Queue, msgs)
	if err == nil && len(confirmations) != len(msgs) {
		err = &broker.SendError{Outcome: message.OutcomeUnknown, Status: "INCOMPLETE", Err: errors.New("the answer does not cover every message")}
	}
	l.f.metrics.attempt(err)
	return confirmations, err
}

func (l *lane) sendTo(ctx context.Context, queue string, msgs []*message.Message) ([]message.Confirmation, error) {
	if queue != "" && l.f.binder != nil {
		return l.f.binder.SendTo(ctx, queue, msgs)
	}
	return l.f.producer.Send(ctx, msgs)
}

// inHalves sends a refused batch again in two parts, in order, and each of them that is
// refused again in two: so the one that is refused is found among n with about 2·log2(n)
// attempts. What is behind one that has to wait waits too when they have ordering keys,
// and whatever was not sent yet when ctx is done.
func (l *lane) inHalves(ctx context.Context, leases []*spool.Lease) bool {
	all := true
	for half := range slices.Chunk(leases, (len(leases)+1)/2) {
		if ctx.Err() != nil || !all && half[0].OrderingKey != "" {
			l.f.spool.Release(half)
			all = false
			continue
		}
		all = l.again(ctx, half) && all
	}
	return all
}

// again attempts what is left of a part when its turn comes.
func (l *lane) again(ctx context.Context, part []*spool.Lease) bool {
	current := l.f.spool.Current(part)
	return (len(current) == 0 || l.attempt(ctx, current)) && len(current) == len(part)
}

// retry gives leases back, to be tried again at once when their keys were moved, else
// each as late as its own attempts say: those of the same number come together again.
func (l *lane) retry(leases []*spool.Lease, moved bool, before int, err error) {
	if moved {
		l.hurry()
	}
	if leases[0].Alone {
		l.failsAlone(leases[0], err)
	} else {
		l.failed(before, err) // first: else the lane leases them again at its old pace
	}
	for attempt, some := range byAttempt(leases) {
		due := time.Now()
		if !moved {
			due = due.Add(l.f.opts.Retry.Delay(attempt, backoff.Random{}))
		}
		l.f.spool.Retry(some, due, broker.OutcomeOf(err), err.Error())
	}
}

// failsAlone is for a message at which the broker may fail for what it is: it waits by
// itself, and its lane goes on as it did.
func (l *lane) failsAlone(lease *spool.Lease, err error) {
	if n := lease.Attempt; n&(n-1) == 0 { // now and then
		l.f.log.Warn("a message is not confirmed, and is tried again by itself", "topic", l.topic, "id", lease.ID, "attempts", n, "error", err)
	}
}

// byAttempt parts leases by how often they were attempted.
func byAttempt(leases []*spool.Lease) map[int][]*spool.Lease {
	parts := map[int][]*spool.Lease{}
	for _, lease := range leases {
		parts[lease.Attempt] = append(parts[lease.Attempt], lease)
	}
	return parts
}

// bury ends a message that was refused alone. When even that cannot be
// recorded the lease runs out and the message is tried again. It returns false when
// what is behind it has to wait.
func (l *lane) bury(ctx context.Context, lease *spool.Lease, cause error) bool {
	if err := l.f.spool.Bury(ctx, lease, reasonOf(cause), cause.Error()); err != nil {
		l.f.log.Error("a dead letter cannot be recorded; the message is kept", "id", lease.ID, "error", err)
		return false
	}
	l.f.metrics.dead.WithLabelValues(reasonOf(cause)).Inc()
	l.f.log.Warn("the broker refuses this message for what it is; it is a dead letter", "topic", l.topic, "id", lease.ID, "error", cause, "ordering_key", l.behind(lease))
	return lease.OrderingKey == "" || !l.f.opts.BlockOnDead
}

// behind says what becomes of the later messages of a dead letter's ordering key.
func (l *lane) behind(lease *spool.Lease) string {
	switch {
	case lease.OrderingKey == "":
		return "none"
	case l.f.opts.BlockOnDead:
		return "its later messages wait until this one is redriven or discarded"
	}
	l.f.metrics.skipped.Inc()
	return "its later messages go on"
}

// reasonOf is the broker's status, which is one of few words.
func reasonOf(err error) string {
	if se := (*broker.SendError)(nil); errors.As(err, &se) {
		return se.Status
	}
	return "REFUSED"
}
