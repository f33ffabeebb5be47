package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Receipt tells what is known of a message, from accept until its receipt's retention
// ends; then ErrNotFound, which is never said of what damage may hide.
func (s *Spool) Receipt(ctx context.Context, id message.ID) (message.Receipt, error) {
	return s.receiptUnless(ctx, id, s.hiddenWhereabouts)
}

// receiptUnless is Receipt, and hidden tells which damage may hide where a message is.
func (s *Spool) receiptUnless(ctx context.Context, id message.ID, hidden func(message.ID) error) (message.Receipt, error) {
	for {
		seq := s.seqOf(id)
		r, err := s.receiptOf(ctx, seq)
		another := err == nil && r.ID != id // its sequence is that of an ID of another spool, or it is gone
		if !another && !errors.Is(err, ErrNotFound) {
			return r, err
		}
		if s.seqOf(id) != seq { // it was delayed, and is not any more
			continue
		}
		err = hidden(id)
		if err == nil && !another {
			err = s.hiddenReceipt(seq)
		}
		return message.Receipt{}, cmp.Or(err, ErrNotFound)
	}
}

// toChange finds a message that an operator is about to change: its sequence, and
// its receipt as it stands. Nothing is changed any more in a spool that is closed
// or read-only.
func (s *Spool) toChange(ctx context.Context, id message.ID) (seq uint64, r message.Receipt, err error) {
	if err := s.over(ctx); err != nil {
		return 0, r, err
	}
	return s.standing(ctx, id)
}

// standing returns the sequence of a message, and its receipt, when it is not just
// being moved, or made a dead letter: what is read then is there.
func (s *Spool) standing(ctx context.Context, id message.ID) (seq uint64, r message.Receipt, err error) {
	for {
		if r, err = s.Receipt(ctx, id); err != nil {
			return 0, message.Receipt{}, err
		}
		seq = s.seqOf(id)
		if r.State == message.StateDead && s.isSettling(seq) {
			if err := s.commit(ctx, &flush{}); err != nil {
				return 0, message.Receipt{}, err
			}
			continue
		}
		if moved, err := s.movedTo(id, seq); !moved || err != nil {
			return seq, r, err
		}
	}
}

// Retention is how long receipts are kept after their message has settled, and
// at most how many.
func (s *Spool) Retention() (keep time.Duration, most int) {
	return s.opts.ReceiptsKeep, s.opts.ReceiptsMax
}

// seqOf completes the 32 bits of an ID to the newest sequence that has them, but
// for a message that was imported, whose sequence they are not.
// Of what is known no two share them: 2^32 messages are never held or kept.
func (s *Spool) seqOf(id message.ID) uint64 {
	if p, ok := s.whereabouts(id); ok {
		return p.seq
	}
	return s.ownSeq(id)
}

// ownSeq is the sequence that a message was given with its ID.
func (s *Spool) ownSeq(id message.ID) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	high := s.head.highWater
	seq := high&^0xffffffff | uint64(id.Seq32())
	if seq > high && seq > 1<<32 {
		seq -= 1 << 32
	}
	return seq
}

// receiptOf looks in memory first. What it finds there to be on disk may move
// before it is read; then it looks again.
func (s *Spool) receiptOf(ctx context.Context, seq uint64) (message.Receipt, error) {
	const tries = 5
	for range tries {
		if err := ctx.Err(); err != nil {
			return message.Receipt{}, err
		}
		r, read := s.receiptInMemory(seq)
		if read == nil {
			return r, nil
		}
		r, err := read(seq)
		if !errors.Is(err, kv.ErrNotFound) {
			return r, err
		}
	}
	return message.Receipt{}, ErrNotFound
}

// receiptInMemory returns a receipt, or where to read it.
func (s *Spool) receiptInMemory(seq uint64) (message.Receipt, func(uint64) (message.Receipt, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.settling[seq]; r != nil {
		return r.Receipt, nil
	}
	if e := s.entries[seq]; e != nil {
		return e.receipt(), nil
	}
	if n := s.moving[seq]; n != nil {
		return n.receipt(), nil
	}
	switch l, rd := s.dead[seq], s.redriven[seq]; {
	case rd != nil:
		return message.Receipt{}, s.readRedriven(rd, s.holds[seq])
	case l != nil:
		return message.Receipt{}, func(seq uint64) (message.Receipt, error) { return s.readDead(l, seq) }
	case seq == 0 || seq > s.head.highWater:
		return message.Receipt{}, func(uint64) (message.Receipt, error) { return message.Receipt{}, ErrNotFound }
	case s.settled.has(seq):
		return message.Receipt{}, s.readReceipt
	default:
		return message.Receipt{}, s.readHeld(s.holds[seq])
	}
}

// receipt of a held message in memory.
func (e *entry) receipt() message.Receipt {
	return e.receiptIn(make([]message.Event, 0, usualEvents))
}

func (e *entry) receiptIn(events []message.Event) message.Receipt {
	r := beginReceipt(e.msg, events)
	r.State = e.state
	e.tell(&r)
	if e.state == message.StateRetrying {
		r.NextAttemptAt = e.due
	}
	return r
}

func (s *Spool) readDead(l *lane, seq uint64) (message.Receipt, error) {
	d, err := s.readLetter(l, seq)
	return d.Receipt, err
}

// readLetter reads a dead letter, or one that was redriven.
func (s *Spool) readLetter(l *lane, seq uint64) (deadLetter, error) {
	v, err := s.db.Get(deadKey(l.id, seq))
	if err != nil {
		return deadLetter{}, fmt.Errorf("read dead letter: %w", err)
	}
	d, err := decodeDead(v)
	if err == nil && d.record.Seq != seq {
		err = errDamaged
	}
	if err != nil {
		s.notice(nameOf(deadKey(l.id, seq)))
	}
	return d, err
}

// readRedriven is readHeld for a message that was redriven.
func (s *Spool) readRedriven(rd *redriven, h *hold) func(uint64) (message.Receipt, error) {
	return func(seq uint64) (message.Receipt, error) {
		d, err := s.readLetter(rd.lane, seq)
		if err != nil {
			return message.Receipt{}, err
		}
		return d.standing(rd, h), nil
	}
}

// standing is the receipt of a dead letter that was redriven, and maybe put on
// hold since.
func (d *deadLetter) standing(rd *redriven, h *hold) message.Receipt {
	if h == nil {
		return d.entry(rd).receipt()
	}
	r := acceptedReceipt(&d.record.Message)
	h.tell(&r)
	return r
}

func (s *Spool) readReceipt(seq uint64) (found message.Receipt, err error) {
	err = ErrNotFound
	prefix := key64(receiptPrefix, seq>>receiptBucketShift)
	scanErr := s.db.Scan(kv.Scan{Prefix: prefix}, func(k, v []byte) (bool, error) {
		damaged := receipts(v, func(r receipt) bool {
			if r.seq == seq {
				found, err = r.Receipt, nil
			}
			return err != nil
		})
		if damaged != nil { // it stops no other part
			s.notice(nameOf(k))
		}
		return err != nil, nil
	})
	return found, cmp.Or(scanErr, err)
}

// readHeld finds a held message that is not in memory, by the block whose first
// sequence is the last one not above its own; h is its hold, if there is one.
func (s *Spool) readHeld(h *hold) func(uint64) (message.Receipt, error) {
	return func(seq uint64) (message.Receipt, error) {
		r, until, err := s.findRecord(seq)
		if err != nil {
			return message.Receipt{}, err
		}
		if until != nil {
			return s.receiptOfDelayed(until), nil
		}
		receipt := acceptedReceipt(&r.Message)
		if h != nil {
			h.tell(&receipt)
		}
		return receipt, nil
	}
}

// readRecord returns the record of a sequence in its block.
func (s *Spool) readRecord(seq uint64) (found message.Record, err error) {
	if rd := s.redrivenOf(seq); rd != nil {
		d, err := s.readLetter(rd.lane, seq)
		return d.record, err
	}
	v, err := s.blockOf(seq)
	if err != nil {
		return found, err
	}
	err = records(v, func(r message.Record) {
		if r.Seq == seq {
			found = r
		}
	})
	if found.Seq == seq {
		return found, nil
	}
	if err == nil {
		err = kv.ErrNotFound
	}
	return found, fmt.Errorf("read sequence %d: %w", seq, err)
}

// blockOf reads the block of a sequence. To a Get a commit would wait, for as long as the
// disk takes.
func (s *Spool) blockOf(seq uint64) (v []byte, err error) {
	err = s.db.Snapshot(func(r kv.Reader) error {
		l, firstSeq, err := s.findBlockIn(r, seq)
		if err != nil {
			return err
		}
		if v, err = r.Get(blockKey(l.id, firstSeq)); err != nil {
			return fmt.Errorf("read block: %w", err)
		}
		return nil
	})
	return v, err
}

func (s *Spool) findBlock(seq uint64) (l *lane, firstSeq uint64, err error) {
	return s.findBlockIn(s.db, seq)
}

func (s *Spool) findBlockIn(r kv.Reader, seq uint64) (l *lane, firstSeq uint64, err error) {
	err = kv.ErrNotFound
	scanErr := r.Scan(kv.Scan{Prefix: indexPrefix, From: indexKey(seq), Reverse: true}, func(k, v []byte) (bool, error) {
		if !fits(k) {
			return true, nil
		}
		firstSeq = tail64(k, len(indexPrefix))
		x, decodeErr := decodeIndex(v)
		if decodeErr == nil && seq < firstSeq+uint64(x.count) {
			if l, err = s.laneByID(x.topic), nil; l == nil {
				err = errNoTopic
			}
		}
		if decodeErr != nil {
			s.notice(nameOf(k))
		}
		return false, decodeErr
	})
	return l, firstSeq, cmp.Or(scanErr, err)
}

func (s *Spool) laneByID(id uint32) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}
