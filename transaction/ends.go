package transaction

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

const (
	endsAtOnce = 16
	endFirst   = 200 * time.Millisecond // after a try in vain; doubled each time
	endLast    = 30 * time.Second
)

// endAll tells brokers what is decided.
func (k *Keeper) endAll(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, endsAtOnce)
	for {
		due, err := k.spool.DueEnds(ctx, endsAtOnce)
		if err != nil {
			if over(ctx, err) {
				return err
			}
			k.log.Error("cannot read which half messages are to be ended; it is tried again", "error", err)
			if err := backoff.Sleep(ctx, time.Second); err != nil {
				return err
			}
			continue
		}
		for i := range due {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			running.Go(func() {
				defer func() { <-slots }()
				k.endOne(ctx, &due[i])
			})
		}
	}
}

// endOne tells one decision, and notes what came of it.
func (k *Keeper) endOne(ctx context.Context, e *spool.HalfEnd) {
	told, err := k.tell(ctx, e)
	if err == nil || told.Commit {
		_, failed := k.spool.EndedHalf(ctx, e.ID, told)
		err = errors.Join(err, failed)
		if err == nil && told.Commit && told.Gone {
			k.metrics.sentInstead.Inc()
			k.log.Warn("a half message is gone from its broker: its message is sent", "transaction", e.ID, "broker", e.Half.Place.Broker)
		}
	}
	if err == nil {
		k.silence.forget(e.ID)
	}
	if err == nil || over(ctx, err) {
		return
	}
	wait := min(endFirst<<min(e.Half.Tries, 10), endLast)
	k.log.Info("a broker has not confirmed a decision; it is told again", "transaction", e.ID, "broker", e.Half.Place.Broker, "in", wait, "error", err)
	if err := k.spool.EndHalfAgain(ctx, e.ID, err.Error(), wait); err != nil && !over(ctx, err) {
		k.log.Error("a broker is not told a decision before the next start", "transaction", e.ID, "error", err)
	}
}

// tell ends the half message that stands, and those before it. After an error told has
// what was confirmed: if that is a commit it is to be noted all the same.
func (k *Keeper) tell(ctx context.Context, e *spool.HalfEnd) (told spool.Told, err error) {
	told.Place = e.Half.Place
	if k.halves == nil {
		told.Commit, told.Gone, told.Former = e.Commit, true, e.Half.Former
		return told, nil
	}
	done, err := k.isDone(ctx, e)
	if err == nil && !done {
		stands := broker.Half{Transaction: e.ID, Number: e.Half.Number}
		err = k.endThere(ctx, e.Half.Place, e.Commit, func(h broker.Half) bool { return h == stands })
		if errors.Is(err, errLost) {
			k.lose(e.ID, e.Half.Place)
		}
		if told.Gone = errors.Is(err, broker.ErrNoHalf); told.Gone {
			err = nil
		}
	}
	if err != nil {
		return told, err
	}
	told.Commit = e.Commit
	for _, p := range e.Half.Former {
		failed := k.endFormer(ctx, e.ID, p, e.Half)
		if failed == nil || errors.Is(failed, broker.ErrNoHalf) {
			told.Former = append(told.Former, p)
		} else {
			err = fmt.Errorf("a half message that was replaced: %w", failed)
		}
	}
	return told, err
}

// isDone reports whether the half message that stands is not to be ended: its commit is
// there, or was confirmed. A rollback of what was confirmed would have a broker that
// loses the commit never ask again; what it asks for is answered (answerEnded).
func (k *Keeper) isDone(ctx context.Context, e *spool.HalfEnd) (bool, error) {
	switch {
	case e.State != spool.TransactionCommitted:
		return false, nil
	case !e.Commit:
		return !k.isSentWithout(ctx, e.Messages[0]), nil
	case e.Half.Tries > 0 || e.EndedAt.Before(k.began): // the answer may have been lost, here or with a former process; a second commit is a second message
		return k.halves.Committed(ctx, e.Half.Place, e.PreparedAt)
	}
	return false, nil
}

func (k *Keeper) lose(id string, p message.HalfPlace) {
	k.metrics.lost.Inc()
	k.log.Error("a broker has lost a half message: another message lies at its place, or none", "transaction", id, "broker", p.Broker, "message", p.MessageID, "offset", p.LogOffset)
}
