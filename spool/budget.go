package spool

import "slices"

// What is read ahead of the forwarder is bounded over all topics. Window bytes of
// memory are shared: most of them are for whoever comes first, a part is divided
// evenly, so that a topic whose messages are sent goes on where the messages of
// others, which no broker takes, have filled the rest. What was attempted and waits
// for its retry, or behind a dead letter, cannot be put aside, and must not stop what
// comes behind it, which another broker may take: so a lane of which nothing can be
// leased is read on while it has less than ownBytes, whatever the others have, unless it
// waits for its turn (turn.go).
//
// A read goes on until what it brought in is as much as it may: it ends at most one
// message above that. What does not fit stays on disk, and its lane is woken when there
// is room. So all windows together take at most Window, and for each topic ownBytes and
// a message for each of its reads, which are three at most: of what is behind, of what
// was put aside, and of what was redriven. They come to that only where so much of
// every topic was attempted, or is leased, and waits. Three things ask for no room: a
// message that is released from its hold, the redriven one that a full window waits
// for, and the copies of what is sent again: they enter a block at a time, one for a
// topic, and count, so that others read less. What a topic took of the part while there
// were fewer topics, it keeps until it is sent.

const (
	// parted is the part of Window that is divided among the topics: one in so many.
	parted = 4
	// maxGrant bounds what one read brings in: the smallest messages take several
	// times as much in memory as on disk.
	maxGrant = 2 * refillBytes
	// firstGrant bounds the first read of a lane, a block or two: the head of a topic does
	// not wait for a megabyte that comes behind it.
	firstGrant = refillBytes / 8
	// leastRoom is the part of Window below which a read that can wait is put off: one in
	// so many. It costs the same for one message as for hundreds.
	leastRoom = 64
	// maxPutOff is how often in a row it is, for a lane: more room may never come, be it
	// that what fills the windows was attempted and waits.
	maxPutOff = 64
	// maxReads bounds the reads that are made at a time, each of up to refillBytes
	// and a block besides what is in the windows.
	maxReads = 4
	// ownBytes is up to where a lane of which nothing can be leased reads on.
	ownBytes = refillBytes / 4
	// ownGrant bounds what one such read brings in: less than all of it, since the
	// next may be sent; more than a message, since its block is read for each.
	ownGrant = ownBytes / 8
	// firstOwn bounds the first one where there is no room: of a thousand topics that are
	// read at once after an outage it would have to be sent in small batches before there is.
	firstOwn = ownGrant / 4
)

// room is what a read may bring in of what all topics share; 0: it is taken. s.mu is
// held.
func (s *Spool) room() int64 {
	return min(max(s.spare()-s.reading, 0), maxGrant)
}

// spare is what is not taken of what all topics share. s.mu is held.
func (s *Spool) spare() int64 { return s.opts.Window - s.opts.Window/parted - s.windows }

// worthIt is room for a read of l before which something may be leased: none, for so
// many times, where it is little. s.mu is held.
func (s *Spool) worthIt(l *lane, room int64) int64 {
	if room < s.opts.Window/leastRoom && l.putOff < maxPutOff {
		l.putOff++
		return 0
	}
	return room
}

// part is what l may have yet of its own, whatever the others have. s.mu is held.
func (s *Spool) part(l *lane) int64 {
	return max(s.sharePart()-l.window.bytes-l.reading, 0)
}

// sharePart is what each lane may have of the part. s.mu is held.
func (s *Spool) sharePart() int64 {
	return min(s.opts.Window/parted/int64(max(len(s.lanes), 1)), maxGrant)
}

// beyond is what l may bring in besides where nothing in its window can be leased.
// s.mu is held.
func (l *lane) beyond() int64 {
	return min(max(ownBytes-l.window.bytes-l.reading, 0), ownGrant)
}

// fullFor reports whether l is not read on, also where nothing of it can be leased.
// Reads under way do not count: they may bring in less. s.mu is held.
func (s *Spool) fullFor(l *lane) bool {
	return s.spare() <= 0 && l.window.bytes >= max(ownBytes, s.sharePart())
}

// grant lets a read of l bring in so much. s.mu is held.
func (s *Spool) grant(l *lane, to *int64, bytes int64) {
	if min(bytes, s.room()) >= s.turn() { // what is of the lane's own part is no turn
		s.turns.made()
	}
	*to = bytes
	s.reading += bytes
	l.reading += bytes
}

// granted ends a read's grant: what was brought in counts by itself. s.mu is held.
func (s *Spool) granted(l *lane, to *int64) (bytes int64) {
	bytes, *to = *to, 0
	s.reading -= bytes
	l.reading -= bytes
	return bytes
}

// starve notes that a caller waits for room for l, if there is anything to read. s.mu is
// held.
func (s *Spool) starve(l *lane) {
	w := &l.window
	if !l.starving && (!w.atTail || len(w.freed) > 0 || len(l.again) > 0) {
		l.starving = true
		s.queueUp(l)
		s.starving = append(s.starving, l)
	}
}

// feed wakes the lane whose turn it is, where there is room. The next
// one is woken when it has taken what it needs (fed): to wake all of them for each
// message that leaves would cost a look at all that waits in each lane. s.mu is held.
func (s *Spool) feed() {
	if len(s.starving) == 0 || s.fedNow != nil {
		return
	}
	s.turns.comes(s.spare()-s.reading, s.turn()/roomStep)
	room := s.room()
	if room == 0 {
		return
	}
	if left := s.turns.left(); room < s.turn() && left > 0 {
		s.feedIn(left)
		return
	}
	l := s.nextTurn()
	s.starving = slices.DeleteFunc(s.starving, func(x *lane) bool { return x == l })
	l.starving, s.fedNow = false, l
	l.ready.raise()
}

// fed is called when l has had its turn. s.mu is held.
func (s *Spool) fed(l *lane) {
	if s.fedNow == l {
		s.fedNow = nil
		s.feed()
	}
}

// stopWaiting is called when a caller leaves l with leases, or without: nobody may be
// left to take its turn. was: somebody waited, and another one that does notes it anew
// when it is woken. s.mu is held.
func (s *Spool) stopWaiting(l *lane) (was bool) {
	if was = l.starving; was {
		l.starving = false
		s.starving = slices.DeleteFunc(s.starving, func(x *lane) bool { return x == l })
	}
	return was
}

// givesUp is called when a caller does not wait for l any more; another one may.
func (s *Spool) givesUp(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopWaiting(l)
	s.fed(l)
	l.ready.raise()
}
