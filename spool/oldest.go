package spool

import (
	"cmp"
	"slices"
	"time"

	"github.com/remora-mq/remora/message"
)

// Oldest returns since when the message that waits longest for its confirmation
// could have been sent; false: none waits. That is since it was accepted; when it
// was delayed, since it was due, also where it is kept back for want of room, or was
// for a broker's timer that did not take it before; when it was redriven, since that,
// or since it was due after it. What an operator keeps back does not count, nor do dead
// letters; released, a message waits since it was accepted. A topic of which nothing
// was read yet, right after a start, does not count either, nor one that is paused.
func (s *Spool) Oldest() (oldest time.Time, ok bool) {
	all := s.othersWaiting() // before the lanes: it is from here that messages go there
	first, due := s.firstOfLanes()
	all = append(all, due...)
	for _, m := range first {
		at := m.AcceptedAt
		if w, moved := s.whereabouts(m.ID); moved && w.seq == m.Seq && w.since > 0 {
			at = time.UnixMilli(int64(w.since))
		}
		all = append(all, at)
	}
	if len(all) == 0 {
		return oldest, false
	}
	return slices.MinFunc(all, time.Time.Compare), true
}

// firstOfLanes returns the first message of each lane that is for no timer, and since when
// others before it are due that were for one.
func (s *Spool) firstOfLanes() (first []*message.Message, due []time.Time) {
	s.eachLane(func(l *lane) {
		if l.paused() {
			return
		}
		e, at := s.firstIn(l)
		if e != nil {
			first = append(first, e.msg)
		}
		if !at.IsZero() {
			due = append(due, at)
		}
	})
	return first, due
}

// othersWaiting returns since when what is not pending in a lane waits.
func (s *Spool) othersWaiting() (others []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	others = s.firstRedriven(others)
	for _, n := range s.moving {
		if l := s.lanes[n.msg.Topic]; l != nil && l.paused() {
			continue
		}
		others = append(others, time.UnixMilli(int64(n.since)))
	}
	for _, clock := range dueClocks { // what is due and not moved; 0: nobody has looked yet
		if now, next := s.timeOf(clock), s.due[clock].next.at; next > 0 && next < now {
			others = append(others, s.now().Add(-time.Duration(now-next)*time.Millisecond))
		}
	}
	return others
}

// firstIn looks at the first blocks of l: what is in memory is its oldest part, and
// sequences are given in the order in which messages become pending. What was for a
// broker's timer, and precedes the first that is for none, waits since it is due. What is
// not due does not wait, but what is still on disk behind it does, about since it. Of a
// payload that is stored apart, and was not attempted, it is not known. s.mu is held.
func (s *Spool) firstIn(l *lane) (first *entry, due time.Time) {
	now := s.now()
	var last *entry
	for _, b := range l.blocks {
		for seq := b.firstSeq; seq < b.firstSeq+uint64(b.count); seq++ {
			e := s.entries[seq]
			if e == nil || e.redriven {
				continue
			}
			at := e.msg.TimerAt()
			if at.IsZero() {
				return e, due
			}
			if !at.After(now) && (due.IsZero() || at.Before(due)) {
				due = at
			}
			last = e
		}
	}
	if l.window.atTail {
		last = nil
	}
	return last, due
}

// redriveAt is a redrive of a message.
type redriveAt struct {
	seq uint64
	*redriven
}

// orderRedrives puts all that is redriven into order.
func (s *Spool) orderRedrives() {
	s.byRedrive = s.byRedrive[:0]
	for seq, rd := range s.redriven {
		s.byRedrive = append(s.byRedrive, redriveAt{seq, rd})
	}
	slices.SortFunc(s.byRedrive, func(a, b redriveAt) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.seq, b.seq))
	})
}

// forgetRedrives forgets those that have ended before all others. s.mu is held.
func (s *Spool) forgetRedrives() {
	for len(s.byRedrive) > 0 && s.redriven[s.byRedrive[0].seq] != s.byRedrive[0].redriven {
		s.byRedrive = s.byRedrive[1:]
	}
}

// firstRedriven adds since when the first of what was redriven waits that is for no timer, and
// since when others are due that were redriven before it: as in firstIn. s.mu is held.
func (s *Spool) firstRedriven(since []time.Time) []time.Time {
	s.forgetRedrives()
	now := s.now()
	for _, r := range s.byRedrive {
		if s.redriven[r.seq] != r.redriven || r.lane.paused() || s.holds[r.seq] != nil || s.settling[r.seq] != nil {
			continue
		}
		e := s.entries[r.seq]
		if e == nil || !e.msg.TimerAt().After(r.at) {
			return append(since, r.at)
		}
		if at := e.msg.TimerAt(); !at.After(now) {
			since = append(since, at)
		}
	}
	return since
}
