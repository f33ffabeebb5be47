package spool

import (
	"context"
	"fmt"

	"github.com/remora-mq/remora/message"
)

// Discard ends dead letters for good. When it returns, those in done are discarded
// on stable storage, counted so in the same transaction, also when it returns an
// error; without one, all are that are not in refused. A crash before that leaves
// each of them discarded or a dead letter. Of one that is discarded already
// nothing is done. refused and the errors are as those of Redrive. Once begun it
// does not end with ctx.
func (s *Spool) Discard(ctx context.Context, ids []message.ID) (done []message.ID, refused map[message.ID]error, err error) {
	refused = map[message.ID]error{}
	letters, err := s.letters(ctx, ids, refused)
	if err != nil {
		return nil, refused, fmt.Errorf("discard: %w", err)
	}
	op := &endMessages{}
	for _, d := range letters {
		end, err := s.discarded(d)
		if err != nil {
			refused[d.ID] = err
			continue
		}
		op.all = append(op.all, end)
	}
	for _, part := range op.parts(s.sizes.op) {
		if err := s.commit(context.WithoutCancel(ctx), &discard{part}); err != nil {
			return done, refused, fmt.Errorf("discard: %w", err)
		}
		for _, end := range part.all {
			if end.done {
				done = append(done, end.ID)
			} else {
				refused[end.ID] = errNotDead
			}
		}
	}
	return done, refused, nil
}

// discarded is the ending of a dead letter.
func (s *Spool) discarded(d *deadLetter) (*ending, error) {
	s.mu.Lock()
	l := s.lanes[d.record.Topic]
	s.mu.Unlock()
	if l == nil {
		return nil, errNoTopic
	}
	now := s.now()
	if err := s.tellNumber(&d.record.Message); err != nil { // an ending without it would be no exception, for good
		return nil, fmt.Errorf("find its number: %w", err)
	}
	end := &ending{receipt: d.receipt, lane: l, number: d.record.TopicSeq, size: heldSize(d.record), wasDead: true}
	end.State, end.SettledAt = message.StateDiscarded, now
	end.History.Add(message.Event{At: now, Name: end.State.String()})
	if d.record.PayloadSize > 0 {
		p, err := s.findPayload(d.record)
		if err != nil {
			return nil, fmt.Errorf("find its payload: %w", err)
		}
		end.payload = p
	}
	return end, nil
}

// discard ends dead letters. Until it is synced their receipts are found in memory.
type discard struct{ *endMessages }

func (op *discard) apply(c *commit) {
	for _, e := range op.all {
		c.end(e)
		if e.done {
			c.s.settling[e.seq] = &e.receipt
		}
	}
}

func (op *discard) synced(s *Spool) {
	for _, e := range op.all {
		if e.done {
			delete(s.settling, e.seq)
			s.unblock(e.seq)
		}
	}
}
