package spool

import (
	"encoding/binary"
	"slices"
	"time"
)

// dueClock is which time a due time is of.
type dueClock byte

const (
	clockWall    dueClock = 'w' // of a DeliverAt: it follows the wall clock
	clockElapsed dueClock = 'e' // of a Delay: it goes on as time passes, whatever the wall clock says
	clockTTL     dueClock = 't' // of a TTL: the same time, of messages that are pending

	// Of transactions, whose number stands for a sequence; the same time.
	clockCheck     dueClock = 'c' // when one is to be checked
	clockUndecided dueClock = 'u' // since when one is undecided
	clockDecided   dueClock = 'd' // when one was decided
	clockEnding    dueClock = 'n' // when one that is decided is to be ended at its broker
	clockHalf      dueClock = 'h' // of half messages, that wait for none; the index has none of it
)

// placePrefix is that of all entries of a clock.
func placePrefix(clock dueClock) []byte { return append(slices.Clone(duePrefix), byte(clock)) }

// transactionClocks are those of which each transaction has an entry in one.
var transactionClocks = [...]dueClock{clockCheck, clockUndecided, clockDecided, clockEnding}

// dueClocks are those of delayed messages.
var dueClocks = [...]dueClock{clockWall, clockElapsed}

func (c dueClock) delays() bool { return c == clockWall || c == clockElapsed }

// due is an entry of the index of due times, sq: in its order the first is the
// next that is due. The message tells the same; the index makes finding it a seek.
type due struct {
	clock dueClock
	at    uint64 // milliseconds since 1970, of its clock
	seq   uint64
}

func (d due) key() []byte {
	k := append(append(make([]byte, 0, 24), duePrefix...), byte(d.clock))
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(k, d.at), d.seq)
}

func dueOf(key []byte) due {
	return due{clock: dueClock(key[2]), at: tail64(key, 3), seq: tail64(key, 11)}
}

func (d due) before(e due) bool { return d.at < e.at || d.at == e.at && d.seq < e.seq }

// moved is at, or a moment before it if d is there: to be in a place of the index anew
// is to be in another one.
func (d due) moved(clock dueClock, at uint64) uint64 {
	if d.clock == clock && d.at == at {
		at--
	}
	return at
}

// never is behind all due times.
const never = 1<<64 - 1

// schedule is where the reader of one clock's index stands: what is before from
// was looked at, and nothing is due before next. It is told of each message that
// is delayed anew, also while it reads.
type schedule struct {
	from  due
	next  due
	reads int // entries of the index, ever
}

// newSchedules know nothing: all is to be looked at.
func newSchedules() map[dueClock]*schedule {
	all := map[dueClock]*schedule{}
	for _, clock := range [...]dueClock{clockWall, clockElapsed, clockTTL, clockCheck, clockEnding} {
		all[clock] = &schedule{from: due{clock: clock}, next: due{clock: clock}}
	}
	return all
}

func (x *schedule) add(d due) {
	if d.before(x.next) {
		x.next = d
	}
	if d.before(x.from) { // the wall clock went back
		x.from = d
	}
}

// schedule notes that a message was delayed, or that its TTL has begun. s.mu is held.
func (s *Spool) schedule(d due) {
	x := s.due[d.clock]
	if d.before(x.next) {
		s.soonerBy(d.clock).raise()
	}
	x.add(d)
}

// soonerBy wakes whoever looks after the index of a clock.
func (s *Spool) soonerBy(clock dueClock) signal {
	switch clock {
	case clockTTL:
		return s.ttl.sooner
	case clockCheck:
		return s.transactions.sooner
	case clockEnding:
		return s.transactions.ending
	default:
		return s.dueSooner
	}
}

// spoolClock is time as the spool counts it: it goes on as time passes, and over a
// restart it does not go back below what was written. The wall clock is asked
// only when it begins: for how long it was since then.
type spoolClock struct {
	began   uint64 // milliseconds since 1970
	elapsed func() time.Duration
	offset  time.Duration // elapsed, when it began
}

func newSpoolClock(wall time.Time, h head, elapsed func() time.Duration) spoolClock {
	began := max(millis(wall), h.clock)
	if h.wall > 0 {
		began = h.clock + max(millis(wall), h.wall) - h.wall
	}
	return spoolClock{began: began, elapsed: elapsed, offset: elapsed()}
}

// time is now by the spool's clock.
func (c *spoolClock) time() time.Time { return time.UnixMilli(int64(c.now())) }

func (c *spoolClock) now() uint64 {
	return c.began + uint64(max(c.elapsed()-c.offset, 0).Milliseconds())
}

// millis counts from 1970; a clock set before that counts as 0.
func millis(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }
