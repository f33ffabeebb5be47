package spool

import (
	"errors"
	"fmt"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Redriven messages enter the window of their lane beside its blocks: the lane
// knows their sequences, and reads some when there is room.

// queueRedriven makes the lanes bring in all that is redriven, in order.
func (s *Spool) queueRedriven() {
	for _, l := range s.byID {
		l.again = nil
	}
	for seq, rd := range s.redriven {
		rd.lane.again = append(rd.lane.again, seq)
	}
	for _, l := range s.byID {
		slices.Sort(l.again)
	}
	s.orderRedrives()
}

// startAgain reports whether redriven messages wait to be brought in, and nobody
// else does that. What fills the window may wait for one of them: that one is brought
// in where there is no room, too, before the others. s.mu is held.
func (s *Spool) startAgain(l *lane, may int64) bool {
	if len(l.again) == 0 || l.againBusy {
		return false
	}
	if may == 0 {
		i := s.unblocking(l)
		if i < 0 {
			return false
		}
		seq := l.again[i]
		l.again = slices.Insert(slices.Delete(l.again, i, i+1), 0, seq)
		may = 1
	}
	l.againBusy = true
	s.grant(l, &l.againLoad, may)
	return true
}

// unblocking is the place, among the redriven messages of l, of one that what fills
// its window waits for, or others of that key; -1: there is none, or something in the
// window does not wait. s.mu is held.
func (s *Spool) unblocking(l *lane) int {
	if len(l.again) == 0 || len(s.blockers) == 0 || !l.window.stopped(false) {
		return -1
	}
	return slices.IndexFunc(l.again, func(seq uint64) bool {
		b := s.blockers[seq]
		return b != nil && l.window.onHold[b.key][0] == seq
	})
}

// enterAgain brings in the next redriven messages of l. One that cannot be read
// stops no other.
func (s *Spool) enterAgain(l *lane) error {
	defer s.oneRead()()
	entries, left, err := s.readAgain(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.feed()
	l.againBusy = false
	s.granted(l, &l.againLoad)
	l.again = append(left, l.again...)
	l.ready.raise()
	s.left.raise()
	for rd, e := range entries {
		if s.enterable(e.msg.Seq, rd) {
			s.addAgain(e)
		}
	}
	if err != nil {
		return fmt.Errorf("read redriven messages of topic %s: %w", l.topic, err)
	}
	return nil
}

// readAgain reads up to refillBytes, as far as there is room; left are those that it
// did not come to.
func (s *Spool) readAgain(l *lane) (entries map[*redriven]*entry, left []uint64, err error) {
	s.mu.Lock()
	seqs, known, most := l.again, map[uint64]*redriven{}, int(min(l.againLoad, refillBytes))
	l.again = nil
	for _, seq := range seqs {
		known[seq] = s.redriven[seq]
	}
	s.mu.Unlock()
	entries = map[*redriven]*entry{}
	for size := 0; len(seqs) > 0 && size < most; seqs = seqs[1:] {
		rd := known[seqs[0]]
		if rd == nil {
			continue
		}
		e, err := s.entryApart(rd, seqs[0])
		err = s.surely(err, kv.Scan{Prefix: deadKey(l.id, seqs[0])})
		switch {
		case err == nil:
			entries[rd] = e
			size += int(e.cost())
		case s.db.Err() != nil || s.closed():
			return entries, seqs, err
		case !errors.Is(err, kv.ErrNotFound): // else it ended meanwhile
			s.notice(nameOf(deadKey(l.id, seqs[0])))
		}
	}
	return entries, seqs, nil
}

// enterable reports whether a redriven message is still to be brought in. s.mu is held.
func (s *Spool) enterable(seq uint64, rd *redriven) bool {
	return s.redriven[seq] == rd && s.entries[seq] == nil && s.holds[seq] == nil && s.settling[seq] == nil && !s.settled.has(seq)
}

// addAgain makes a redriven message leasable. s.mu is held.
func (s *Spool) addAgain(e *entry) {
	s.bringIn(e)
	s.unblock(e.msg.Seq) // what waited for it is behind it now
}

// entryApart reads a redriven message.
func (s *Spool) entryApart(rd *redriven, seq uint64) (*entry, error) {
	d, err := s.readLetter(rd.lane, seq)
	if err != nil {
		return nil, err
	}
	e := d.entry(rd)
	if d.record.PayloadSize > 0 {
		e.payload, err = s.surePayload(d.record)
	}
	return e, err
}

// entry is the message as it is after its redrive.
func (d *deadLetter) entry(rd *redriven) *entry {
	m := d.record.Message
	return &entry{
		msg: &m, lane: rd.lane, size: heldSize(d.record), state: message.StatePending, redriven: true,
		tried: d.triedBefore(rd),
	}
}

// triedBefore is what is known of the message after its redrive: attempts count from
// one again.
func (d *deadLetter) triedBefore(rd *redriven) tried {
	return tried{maybeSent: d.MaybeSent, history: d.historyAfter(rd)}
}

// historyAfter is the history of the dead letter without its first event, which
// every receipt begins with, and with its redrive.
func (d *deadLetter) historyAfter(rd *redriven) message.History {
	h := d.History
	h.First, h.Last = slices.Clone(h.First), slices.Clone(h.Last)
	if len(h.First) > 0 && h.First[0].Name == "accepted" {
		h.First = h.First[1:]
	}
	event := message.Event{At: rd.at, Name: "redriven"}
	if d.record.OrderingKey != "" {
		event.Detail = "out of order: later messages of its ordering key may have been confirmed"
	}
	h.Add(event)
	return h
}

// holdRedriven tells a hold that was read at open what is known of a message
// that was redriven: no block of its lane leads to it. One that cannot be read
// is met when it is brought in.
func (s *Spool) holdRedriven(seq uint64, h *hold) {
	rd := s.redriven[seq]
	if rd == nil {
		return
	}
	v, err := s.db.Get(deadKey(rd.lane.id, seq))
	if err != nil {
		return
	}
	if d, err := decodeDead(v); err == nil {
		h.orderingKey, h.tried = d.record.OrderingKey, d.triedBefore(rd)
		s.passHold(seq, h)
	}
}
