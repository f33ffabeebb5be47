package spool

import (
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// What is due is found by a seek in the index of due times, and moved in the group
// commit: the entries sy and sq go, and the record enters the topic's newest block
// under a new sequence and number, as if it were accepted now. The old sequence is
// settled in the same transaction, and counted as moved. From then on it is a
// message like any other.

// fallDue is done by one goroutine, from Open to Close.
func (s *Spool) fallDue() {
	s.repeat(s.dueSooner, s.moveDue, "delayed messages are kept back; it is tried again")
}

// repeat does again and again what time brings, until the spool is closed or has
// failed: when do said that there would be something, or sooner. complaint is
// logged with what do fails of.
func (s *Spool) repeat(sooner signal, do func() (wait time.Duration, err error), complaint string) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-s.db.Failed():
			return
		case <-sooner:
		case <-timer.C:
		}
		wait, err := do()
		if err != nil && !s.closed() && s.db.Err() == nil {
			s.opts.Logger.Error(complaint, "error", err)
		}
		timer.Reset(wait)
	}
}

const (
	// lookAgain bounds how long fallDue sleeps while something waits for the wall
	// clock, which may be set, or after an error.
	lookAgain = time.Second
	// sleep is how long it does when nothing waits.
	sleep = time.Hour
)

// moveDue moves all that is due, and returns for how long nothing will be. What
// one clock's index does keeps the other's from nothing.
func (s *Spool) moveDue() (wait time.Duration, err error) {
	wait = sleep
	for _, clock := range dueClocks {
		until, failed := s.moveDueBy(clock)
		wait, err = min(wait, until), errors.Join(err, failed)
	}
	if err != nil {
		return lookAgain, err
	}
	return wait, s.checkSchedule("delayed messages", s.delaysLack)
}

// moveDueBy is moveDue for one clock. A move writes a body again before the room
// of the first is given back, so it waits where the volume has no room to spare.
func (s *Spool) moveDueBy(clock dueClock) (wait time.Duration, err error) {
	for {
		now := s.timeOf(clock)
		if next := s.nextDue(clock); next > now {
			return sleepFor(clock, next, now), nil
		}
		if !s.roomToMove() {
			return lookAgain, s.lookAt(clock)
		}
		all, err := s.readDue(clock)
		if err != nil {
			return lookAgain, fmt.Errorf("read the messages that are due: %w", err)
		}
		if len(all) == 0 {
			continue
		}
		if err := s.commit(s.life, &moveMessages{all: all}); err != nil {
			s.scheduleAgain(all)
			return lookAgain, fmt.Errorf("move the messages that are due: %w", err)
		}
	}
}

// lookAt finds out what is next by a clock, if nobody has looked yet: what is kept
// back has to be known, too (Oldest).
func (s *Spool) lookAt(clock dueClock) error {
	if s.nextDue(clock) > 0 {
		return nil
	}
	if err := s.eachDue(clock, func(due) bool { return false }); err != nil {
		return fmt.Errorf("read what is due next: %w", err)
	}
	return nil
}

// roomToMove asks the volume. That it has none is told by the sidecar's condition
// disk-low.
func (s *Spool) roomToMove() bool { return s.opts.Space.Spare() == nil }

// nextDue is when the next message is due by a clock, or may be.
func (s *Spool) nextDue(clock dueClock) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.due[clock].next.at
}

// sleepFor is for how long nothing of a clock can be due. What was next when somebody
// looked may be due by now: then it is looked for again at once.
func sleepFor(clock dueClock, next, now uint64) time.Duration {
	if next <= now {
		return 0
	}
	longest := sleep
	if clock == clockWall && next != never {
		longest = lookAgain
	}
	return time.Duration(min(next-now, uint64(longest.Milliseconds()))) * time.Millisecond
}

// checkSchedule notices an index of due times that has come to its end, while there
// are messages that it should lead to, as lacks tells.
func (s *Spool) checkSchedule(what string, lacks func() bool) error {
	s.mu.Lock()
	ended := lacks()
	s.mu.Unlock()
	if !ended {
		return nil
	}
	op := &compareSchedule{compare: lacks}
	if err := s.commit(s.life, op); err != nil {
		return fmt.Errorf("compare the index of due times: %w", err)
	}
	if op.lacks {
		s.notice("the index of due times does not lead to all " + what)
	}
	return nil
}

// delaysLack compares counts. s.mu is held.
func (s *Spool) delaysLack() bool {
	for _, clock := range dueClocks {
		if s.due[clock].next.at != never {
			return false
		}
	}
	return s.delayed > s.delayedOnHold() // those it may have passed by
}

// compareSchedule compares while nothing is delayed or moved: what former commits
// have delayed is scheduled, and what its own does is not counted yet.
type compareSchedule struct {
	compare func() bool
	lacks   bool
}

func (*compareSchedule) size() int        { return fixedSize }
func (op *compareSchedule) apply(*commit) { op.lacks = op.compare() }
func (*compareSchedule) synced(*Spool)    {}

// scheduleAgain is for messages of one clock that were not moved.
func (s *Spool) scheduleAgain(all []*movedMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due[all[0].from.due.clock].add(all[0].from.due)
}

func (s *Spool) timeOf(clock dueClock) uint64 {
	if clock == clockWall {
		return millis(s.opts.Now())
	}
	return s.clock.now()
}

// dueBatch is the most messages that are moved by one commit.
const dueBatch = 256

// readDue reads the next messages that are due by a clock: at most as many as one
// operation moves.
func (s *Spool) readDue(clock dueClock) (all []*movedMessage, err error) {
	size := fixedSize
	err = s.eachDue(clock, func(d due) bool {
		if size > s.sizes.op {
			return false
		}
		if n := s.readMoved(d); n != nil {
			size += n.bytes()
			all = append(all, n)
		}
		return true
	})
	return all, err
}

// eachDue calls visit with the next that are due by a clock, at most dueBatch of
// them, until it returns false: that one comes again.
func (s *Spool) eachDue(clock dueClock, visit func(due) bool) error {
	now := s.timeOf(clock)
	s.mu.Lock()
	x := s.due[clock]
	if x.next.at > now {
		s.mu.Unlock()
		return nil
	}
	from := x.from
	x.next = due{clock, never, never}
	s.mu.Unlock()
	found, behind, err := s.scanDue(from, now)
	if err != nil {
		s.mu.Lock()
		x.add(from)
		s.mu.Unlock()
		return s.mustSee(err)
	}
	for _, d := range found {
		if !visit(d) {
			behind = d
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	added := x.next // while it was read
	x.reads += len(found)
	x.from, x.next = behind, behind // of what is between, all was deleted
	x.add(added)
	return nil
}

// scanDue reads the index from one due time on: what is due, and what is first
// behind that.
func (s *Spool) scanDue(from due, now uint64) (found []due, behind due, err error) {
	behind = due{from.clock, never, never}
	prefix := placePrefix(from.clock)
	err = s.db.Scan(kv.Scan{Prefix: prefix, From: from.key(), KeysOnly: true, Whole: true}, func(k, _ []byte) (bool, error) {
		if !fits(k) {
			s.notice(nameOf(k))
			return true, nil
		}
		if d := dueOf(k); d.at > now || len(found) == dueBatch {
			behind = d
			return false, nil
		}
		found = append(found, dueOf(k))
		return true, nil
	})
	return found, behind, err
}

// readMoved reads a message that is due; nil: there is none any more, or it is on
// hold, or cannot be read, which is noticed and kept for the next opening.
func (s *Spool) readMoved(d due) *movedMessage {
	if s.holdsBack(d.seq) {
		return nil
	}
	m, err := s.findDelayed(d.seq)
	err = s.surely(err, kv.Scan{Prefix: key64(delayedPrefix, d.seq)})
	if errors.Is(err, kv.ErrNotFound) || err == nil && m.due != d {
		s.post(&deletion{[][]byte{d.key()}}) // it was cancelled, or the entry is one that a damage brought back
		return nil
	}
	var n *movedMessage
	if err == nil {
		n, err = s.moved(m)
	}
	if err != nil {
		s.notice(fmt.Sprintf("sequence %d, which is due: %v", d.seq, err))
		return nil
	}
	return n
}

// moved finds what a message needs on its way into a block.
func (s *Spool) moved(m delayed) (n *movedMessage, err error) {
	n = &movedMessage{from: m}
	if m.record.PayloadSize > 0 {
		n.payload, err = s.surePayload(m.record)
	}
	msg := m.record.Message
	n.newMessage.msg, n.newMessage.size = &msg, heldSize(m.record)
	n.newMessage.moved, n.newMessage.key, n.newMessage.fingerprint = &m.record, m.key, m.fingerprint
	if m.early() {
		n.timed, n.newMessage.deliverAt = true, m.deliverAt
	}
	return n, errors.Join(err, s.findNumberElsewhere(&msg))
}

// movedMessage is a delayed message on its way into a block.
type movedMessage struct {
	newMessage

	from delayed
	done bool // else it was cancelled, or put on hold, before
}

// bytes bounds what moving it writes: what a new message does, its ID, and the
// bitmap and the entries of the sequence that it had.
func (n *movedMessage) bytes() int {
	const each = 256 + 4*valueOverhead
	return each + n.recordSize() + keyBytes + topicSize + bitmapBytes + n.ttlSize() + delayRoom
}

// moveMessages makes delayed messages pending.
type moveMessages struct{ all []*movedMessage }

func (op *moveMessages) size() int {
	size := fixedSize
	for _, n := range op.all {
		size += n.bytes()
	}
	return size
}

func (op *moveMessages) apply(c *commit) {
	for _, n := range op.all {
		if c.s.holds[n.from.record.Seq] == nil {
			c.move(n, min(millis(n.from.deliverAt), millis(c.now))) // the clock may have been set back
		}
	}
}

// move ends the sequence that a message had, and accepts it anew, unless it has
// ended. since is when that could have been done first.
func (c *commit) move(n *movedMessage, since uint64) {
	s, was := c.s, n.from.record.Seq
	if s.settled.has(was) || s.settling[was] != nil {
		return
	}
	n.done = true
	l := s.lanes[n.msg.Topic]
	c.leaveDelayed(l, &n.from)
	c.ranges[s.settled.set(was)] = true
	l.counts.moved++
	l.counts.bytes -= uint64(n.size)
	s.held -= int64(n.size)
	if n.payload != nil {
		c.deletes = append(c.deletes, chunkSetKey(was))
	}
	if !s.keys.has(was) {
		n.key = keyHash{}
	}
	s.moving[was] = n
	n.since = since
	c.add(l, &n.newMessage)
}

// synced lets the forwarder see them.
func (op *moveMessages) synced(s *Spool) { s.enterMoved(op.all) }

func (s *Spool) enterMoved(all []*movedMessage) {
	for _, n := range all {
		if !n.done {
			continue
		}
		delete(s.moving, n.from.record.Seq)
		s.hasImported = true
		s.enter(&n.newMessage)
		s.notify(n.from.record.Seq)
	}
}

// number gives a delayed message that is due its sequence: the ID that it has then
// leads to it by an entry of its own. Under another spool ID than that of now no
// more numbers are given, nor to one that was half, and is delayed now. One that it has
// from there it keeps.
func (c *commit) number(l *lane, n *newMessage, delayed bool) {
	elsewhere := n.msg.TopicSeq
	n.msg.Seq, n.msg.TopicSeq = c.nextSeq(), 0
	if n.msg.ID.Spool() == c.s.head.spoolID && !delayed {
		n.msg.TopicSeq = l.numbers.next(n.msg.ID.Spool())
	} else {
		l.numbers.earlier++
	}
	c.sets = append(c.sets, pair{importKey(n.msg.ID), whereabouts{seq: n.msg.Seq, number: elsewhere, since: n.since}.encode()})
}

// movedTo reports whether a message that was delayed under a sequence has another
// one now. While it is being moved, movedTo waits until that is on disk.
func (s *Spool) movedTo(id message.ID, seq uint64) (bool, error) {
	s.mu.Lock()
	moving := s.moving[seq] != nil
	s.mu.Unlock()
	if moving {
		return true, s.commit(s.life, &flush{})
	}
	return s.seqOf(id) != seq, nil
}
