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
// others before it are due that were for one. Of a lane with many of those it lets others in
// between.
func (s *Spool) firstOfLanes() (first []*message.Message, due []time.Time) {
	var long []*laneWalk
	add := func(w *laneWalk) {
		if w.first != nil {
			first = append(first, w.first.msg)
		}
		if !w.due.IsZero() {
			due = append(due, w.due)
		}
	}
	s.eachLane(func(l *lane) {
		if l.paused() {
			return
		}
		if w := (laneWalk{lane: l}); s.firstIn(&w) {
			add(&w)
		} else {
			long = append(long, &w)
		}
	})
	for _, w := range long {
		for done := false; !done; {
			s.mu.Lock()
			if done = s.firstIn(w); done {
				add(w)
			}
			s.mu.Unlock()
		}
	}
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

// laneWalk looks for the first message of a lane that is for no timer.
type laneWalk struct {
	lane  *lane
	from  uint64    // looks at sequences from here on
	first *entry    // found, or the last that was looked at
	due   time.Time // since when others before it are due
}

// timersAtOnce is how many messages for a timer are looked at while all others wait.
const timersAtOnce = 256

// firstIn looks at the first blocks of a lane: what is in memory is its oldest part, and
// sequences are given in the order in which messages become pending. What was for a
// broker's timer, and precedes the first that is for none, waits since it is due. What is
// not due does not wait, but what is still on disk behind it does, about since it. Of a
// payload that is stored apart, and was not attempted, it is not known. false: there is more
// to look at. s.mu is held.
func (s *Spool) firstIn(w *laneWalk) (done bool) {
	now, left := s.now(), timersAtOnce
	for _, b := range w.lane.blocks {
		for seq := max(b.firstSeq, w.from); seq < b.firstSeq+uint64(b.count); seq++ {
			e := s.entries[seq]
			if e == nil || e.redriven {
				continue
			}
			if left == 0 {
				w.from = seq
				return false
			}
			left--
			w.first = e
			at := e.msg.TimerAt()
			if at.IsZero() {
				return true
			}
			if !at.After(now) && (w.due.IsZero() || at.Before(w.due)) {
				w.due = at
			}
		}
	}
	if w.lane.window.atTail {
		w.first = nil
	}
	return true
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
