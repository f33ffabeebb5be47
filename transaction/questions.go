package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// renewAfter is how many questions of a broker for a half message leave it without a
// decision, before another one takes its place: a broker drops it after 15
// (transactionCheckMax).
const renewAfter = 10

// settleTime is for a commit to be in the broker's index of messages, and for it to
// note that the half message is over: it asks until then.
const settleTime = 15 * time.Second

// check does what the question of a broker asks for. To leave it without an answer is
// to answer that it is not known yet. running has what goes on after it returns.
func (k *Keeper) check(ctx context.Context, c broker.HalfCheck, running *sync.WaitGroup) {
	t, err := k.known(ctx, c)
	switch {
	case errors.Is(err, spool.ErrNoTransaction):
		k.alarm(c)
	case err != nil:
		if !over(ctx, err) {
			k.log.Error("a broker's question cannot be answered now; it asks again", "transaction", c.Transaction, "error", err)
		}
	case t.Half == nil: // its entry was damaged: the message is decided here alone
		k.rollBack(ctx, c, "its transaction is decided here alone")
	case c.Number < t.Half.Number && c.Place.Same(t.Half.Place):
		// It was lost since the broker asked, and the one that stands lies there.
	case c.Number < t.Half.Number:
		k.rollBack(ctx, c, "another one has replaced it")
	case t.State.Decided() && t.Half.Ended:
		k.answerEnded(ctx, c, &t)
	default:
		k.answerOpen(ctx, c, &t, running)
	}
}

// known finds the transaction of a question.
func (k *Keeper) known(ctx context.Context, c broker.HalfCheck) (t spool.Transaction, err error) {
	if c.MessageID.IsZero() {
		return t, spool.ErrNoTransaction
	}
	t, err = k.spool.Transaction(ctx, c.Transaction)
	if err == nil && (!slices.Contains(t.Messages, c.MessageID) || t.Half == nil && !t.State.Decided()) {
		err = spool.ErrNoTransaction
	}
	return t, err
}

// alarm leaves without an answer what is not known.
func (k *Keeper) alarm(c broker.HalfCheck) {
	k.mu.Lock()
	k.strange = time.Now()
	k.mu.Unlock()
	k.metrics.questions.WithLabelValues(unknownHalf).Inc()
	k.log.Error("a broker asks for the decision of a half message that is not known here; it is not answered, and the broker drops it in the end",
		"broker", c.Place.Broker, "group", c.Place.Group, "topic", c.Place.Topic, "transaction", c.Transaction, "message", c.Place.MessageID, "questions", c.Times)
}

func (k *Keeper) rollBack(ctx context.Context, c broker.HalfCheck, why string) {
	k.metrics.questions.WithLabelValues(rolledBackHalf).Inc()
	k.log.Debug("a half message that a broker asks for is rolled back", "transaction", c.Transaction, "number", c.Number, "because", why)
	k.end(ctx, c.Place, false)
}

// answerOpen notes where the half message is now, and has its application asked; one
// that is decided is ended there (ends.go), unless its message is half no more: what it
// is then, endAll does not know.
func (k *Keeper) answerOpen(ctx context.Context, c broker.HalfCheck, t *spool.Transaction, running *sync.WaitGroup) {
	if !t.State.Decided() {
		k.silence.hear(t.ID, time.Now())
	}
	stands, err := k.spool.PlaceHalf(ctx, t.ID, c.Number, c.Place)
	if err == nil && stands.State == spool.TransactionCommitted {
		if r, half := k.receipt(ctx, c.MessageID); !half {
			k.answerCommitted(ctx, c, &stands, r)
			return
		}
	}
	k.metrics.questions.WithLabelValues(openHalf).Inc()
	switch {
	case err != nil:
		if !over(ctx, err) {
			k.log.Error("it is not noted where a half message is now; its broker asks again", "transaction", t.ID, "error", err)
		}
	case stands.State.Decided():
	case c.Times >= renewAfter:
		k.asideThen(k.renews, &stands, running, func() {
			if k.renew(ctx, &stands, c.Place, fmt.Sprintf("its broker has asked for it %d times, and would drop it", c.Times)) {
				k.silence.renew(time.Now())
			}
		}, func() {
			if now, err := k.spool.Transaction(ctx, stands.ID); err == nil { // it may have been decided meanwhile
				k.askAside(ctx, &now, running)
			}
		})
	default:
		k.askAside(ctx, &stands, running)
	}
}

// askAside has the application asked, if somebody is to be: also where the question of a
// broker had the half message replaced, or those that come while a replacement takes longer
// than a broker waits between two would replace it again and again, and ask nobody.
func (k *Keeper) askAside(ctx context.Context, t *spool.Transaction, running *sync.WaitGroup) {
	if t.State == spool.TransactionHalf {
		k.aside(k.asking, t, running, func() { k.ask(ctx, t) })
	}
}

// aside does something for a transaction, unless that is being done, or room has no
// place: the broker asks again. Applications that hang take no place of what replaces
// half messages, which cannot wait as long.
func (k *Keeper) aside(room chan struct{}, t *spool.Transaction, running *sync.WaitGroup, do func()) {
	k.asideThen(room, t, running, do, func() {})
}

// asideThen is aside with what is done when the place is free again, if do was.
func (k *Keeper) asideThen(room chan struct{}, t *spool.Transaction, running *sync.WaitGroup, do, then func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked[t.ID] {
		return
	}
	select {
	case room <- struct{}{}:
	default:
		return
	}
	k.asked[t.ID] = true
	running.Go(func() {
		do()
		k.mu.Lock()
		delete(k.asked, t.ID)
		<-room
		k.mu.Unlock()
		then()
	})
}

// renew has a new half message take the place of the one at was, for which its broker
// will not ask much longer, or does not any more; or of one that is lost, which is
// nowhere. It reports whether it did.
func (k *Keeper) renew(ctx context.Context, t *spool.Transaction, was message.HalfPlace, because string) bool {
	issued, err := k.spool.IssueHalf(ctx, t.ID)
	if err != nil || issued.State.Decided() {
		return false // it is found again
	}
	number := issued.Half.Issued
	place, err := k.store(ctx, &issued, number)
	var stands spool.Transaction
	if err == nil {
		stands, err = k.spool.PlaceHalf(ctx, t.ID, number, place)
	}
	if err != nil {
		if !over(ctx, err) {
			k.log.Error("a half message that its broker will drop, or has, could not be replaced; it is tried again", "transaction", t.ID, "because", because, "error", err)
		}
		return false
	}
	if stands.Half == nil || stands.Half.Number != number { // it was decided meanwhile, and the other one has that told
		k.end(ctx, place, false)
		return false
	}
	k.silence.hear(t.ID, time.Now())
	k.metrics.renewed.Inc()
	k.log.Warn("a half message has waited so long for its decision that it was replaced by a new one",
		"transaction", t.ID, "broker", place.Broker, "because", because, "number", number)
	if was.Known() {
		k.warn(ctx, k.endFormer(ctx, t.ID, was, &spool.BrokerHalf{Number: number, Place: place}), was, false)
	}
	return true
}

// receipt is what is known of a message, nil: nothing; and whether it is half as yet, for
// all that is known.
func (k *Keeper) receipt(ctx context.Context, id message.ID) (known *message.Receipt, half bool) {
	r, err := k.spool.Receipt(ctx, id)
	if err != nil {
		return nil, !errors.Is(err, spool.ErrNotFound)
	}
	return &r, r.State == message.StateHalf
}

// sentWithout reports whether the message of a receipt, that is half no more, is sent
// without its half message.
func sentWithout(r *message.Receipt) bool {
	return r.State != message.StateConfirmed || r.Confirmation.Flushed()
}

// isSentWithout reports whether that is known of a message that is half no more.
func (k *Keeper) isSentWithout(ctx context.Context, id message.ID) bool {
	r, err := k.spool.Receipt(ctx, id)
	return err == nil && sentWithout(&r)
}

// answerEnded is for a half message whose end was confirmed, or that was not known of
// then.
func (k *Keeper) answerEnded(ctx context.Context, c broker.HalfCheck, t *spool.Transaction) {
	if t.State == spool.TransactionRolledBack {
		k.rollBack(ctx, c, "its transaction is rolled back")
		return
	}
	r, _ := k.receipt(ctx, c.MessageID)
	k.answerCommitted(ctx, c, t, r)
}

// answerCommitted is answerEnded of a commit, with what is known of its message. What the
// broker has lost of it since is made again; but not what its consumers have, of which the
// broker has not noted yet that it is over.
func (k *Keeper) answerCommitted(ctx context.Context, c broker.HalfCheck, t *spool.Transaction, r *message.Receipt) {
	if r != nil && sentWithout(r) {
		k.rollBack(ctx, c, "its message is sent without it")
		return
	}
	if r != nil && time.Since(r.SettledAt) < settleTime {
		k.metrics.questions.WithLabelValues(openHalf).Inc()
		return
	}
	done, err := k.halves.Committed(ctx, c.Place, t.PreparedAt)
	switch {
	case err != nil:
		k.log.Warn("it is not known whether a broker has lost a commit; it asks again", "transaction", t.ID, "error", err)
	case done:
		k.rollBack(ctx, c, "its message is there")
	default:
		k.metrics.questions.WithLabelValues(repairedHalf).Inc()
		k.log.Warn("a broker has lost a commit that it had confirmed: it is made again", "transaction", t.ID, "broker", c.Place.Broker, "message", c.Place.MessageID)
		k.end(ctx, c.Place, true)
	}
}
