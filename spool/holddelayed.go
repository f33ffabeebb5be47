package spool

import (
	"errors"

	"github.com/remora-mq/remora/message"
)

// A delayed message may be put on hold like one that is pending. It then does not
// fall due: whoever comes upon it in the index of due times passes it by, and its
// release schedules it again. It has no place in its topic yet, so nothing behind
// its ordering key waits for it.

// holdsBack reports whether a message that is due is on hold.
func (s *Spool) holdsBack(seq uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holds[seq] != nil
}

// movedOn reports whether a message could not be changed because it was delayed,
// and has just become pending: then it has another sequence.
func (s *Spool) movedOn(id message.ID, seq uint64, was message.Receipt, err error) bool {
	if was.State != message.StateDelayed || !errors.Is(err, ErrWrongState) {
		return false
	}
	moved, failed := s.movedTo(id, seq)
	return moved && failed == nil
}

// receiptOfDelayed is that of a delayed or half message as it stands. When it cannot
// be read how its transaction does, it is half.
func (s *Spool) receiptOfDelayed(d *delayed) message.Receipt {
	r := d.receipt()
	if d.half() {
		if t, err := s.numbered(d.due.at); err == nil && t.State == TransactionUndecided {
			r.State = message.StateUndecided
		}
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.holds[d.record.Seq]; h != nil {
		h.tell(&r)
	}
	return r
}

// isDelayed reports whether a message of a topic is delayed, by its entry alone.
func (s *Spool) isDelayed(seq uint64, topic uint32) bool {
	_, err := s.db.Get(delayedKey(seq, topic))
	return err == nil
}

// delayedOnHold counts the delayed messages on hold. s.mu is held.
func (s *Spool) delayedOnHold() (n uint64) {
	for _, l := range s.lanes {
		n += uint64(l.delayedOnHold)
	}
	return n
}
