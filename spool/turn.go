package spool

import (
	"math"
	"time"
)

// A batch is what of one topic, or of one queue of it, is in memory. Where many topics have
// much behind their windows, and each reads on as soon as a few messages have left, none has
// enough for a batch: of 200 topics with ordering keys over four queues, 14 messages were
// sent at a time, and some 65 with turns. So a lane whose attempts succeed waits for its
// turn, until there is room for some batches at once, and those whose turn it is read no
// further. Room comes when what was read is sent: where it has become no more for a while,
// since what fills the windows cannot be sent, nobody waits for it, but for another look now
// and then. It may have to become much more: of a thousand topics the first reads alone take
// more than there is.

const (
	// turnPart is the part of Window that a turn brings in: one in so many.
	turnPart = 16
	// turnWait is how long a turn is waited for after the last, or after there was more
	// room than at any time since, by a part of a turn: one in roomStep.
	turnWait = 500 * time.Millisecond
	roomStep = 16
	// turnRest is for how long none is waited for where none had come: twice as long each
	// time, up to mostRest.
	turnRest = 10 * time.Second
	mostRest = 5 * time.Minute
	// mostWait is how long a lane waits for its own turn, then it goes on with what it may
	// have in any case: with a thousand topics and a slow broker a round takes minutes.
	mostWait = 30 * time.Second
)

// turns tells whether one is to be expected.
type turns struct {
	now    func() time.Time // of the process's own clock
	until  time.Time        // a turn is waited for
	most   int64            // room that there was since that began, or since the last turn
	next   time.Time        // before that none is, unless there was one
	rest   time.Duration    // until that, from the last time on
	timer  *time.Timer      // feeds when none is waited for any more; nil: nobody needs it
	passed float64          // the most that a lane had before it got one
}

// made notes a turn.
func (t *turns) made() {
	t.rest = turnRest
	t.expect()
}

func (t *turns) expect() {
	now := t.now()
	t.until, t.next, t.most = now.Add(turnWait), now.Add(t.rest), math.MinInt64
}

// comes notes how much room there is; less than none where too much was read. While it
// becomes more, by steps, a turn is waited for.
func (t *turns) comes(room, step int64) {
	if room < t.most+step {
		return
	}
	t.most = room
	if t.left() > 0 {
		t.until = t.now().Add(turnWait)
	}
}

// left is for how long one is waited for.
func (t *turns) left() time.Duration { return max(t.until.Sub(t.now()), 0) }

// expected reports whether one is to be waited for.
func (t *turns) expected() bool {
	if t.left() > 0 {
		return true
	}
	if t.now().Before(t.next) {
		return false
	}
	t.rest = max(turnRest, min(2*t.rest, mostRest))
	t.expect()
	return true
}

// turn is how many bytes one brings in, at most one message more.
func (s *Spool) turn() int64 { return min(s.opts.Window/turnPart, maxGrant) }

// queueUp ends what l has saved up while it did not wait, but for one turn: who comes back
// with its next wish did not stay away. s.mu is held.
func (s *Spool) queueUp(l *lane) { l.turns = max(l.turns, s.turns.passed-1) }

// nextTurn is whose turn it is, of those that wait: who has had least, and among these who
// has waited longest. s.mu is held.
func (s *Spool) nextTurn() *lane {
	next := s.starving[0]
	for _, l := range s.starving {
		if l.turns < next.turns {
			next = l
		}
	}
	s.turns.passed = max(s.turns.passed, next.turns)
	return next
}

// waitsForTurn reports whether l is to wait until there is room for a turn. What of a
// topic is little is read at once: it would not fill a batch later either. s.mu is held.
func (s *Spool) waitsForTurn(l *lane, room int64) bool {
	w := &l.window
	if !l.flowing || !w.begun || w.loading || w.atTail || max(room, s.part(l)) >= s.turn() {
		return false
	}
	little := w.counted && w.behind <= max(s.sharePart(), ownGrant)
	if little || !s.turns.expected() {
		return false
	}
	if l.waits.IsZero() {
		l.waits = s.turns.now()
	}
	return s.turns.now().Sub(l.waits) < mostWait
}

// feedIn has feed called when no turn is expected any more: who waits for any room may not
// look by itself before. s.mu is held.
func (s *Spool) feedIn(left time.Duration) {
	if s.turns.timer != nil || s.closed() {
		return
	}
	s.turns.timer = time.AfterFunc(left, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.turns.timer = nil
		s.feed()
	})
}

// ofTurn is what of the room l may have where others wait for theirs; one that is woken
// for its turn does not wait any more. s.mu is held.
func (s *Spool) ofTurn(room int64) int64 {
	if len(s.starving) == 0 {
		return room
	}
	return min(room, s.turn())
}

// roomFor is room, without what the lane is to have that was woken for its turn. s.mu is held.
func (s *Spool) roomFor(l *lane) int64 {
	if s.fedNow == nil || s.fedNow == l {
		return s.room()
	}
	return max(s.room()-s.turn(), 0)
}

// yields reports whether l, of which something can be leased, leaves the room to those
// that wait for it. s.mu is held.
func (s *Spool) yields(l *lane) bool {
	return (len(s.starving) > 0 || s.fedNow != nil) && s.fedNow != l && s.turns.left() > 0
}

// turnEnds is when l, which waits, looks again by itself, on the clock of Lease; nil: it does
// not. s.mu is held.
func (s *Spool) turnEnds(l *lane, now time.Time) *time.Time {
	left := s.turns.left()
	if !l.starving || !l.forTurn && left == 0 {
		return nil
	}
	at := now.Add(max(left, time.Millisecond))
	return &at
}
