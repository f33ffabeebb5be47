package spool

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/remora-mq/remora/message"
)

// ending settles one message, or makes it a dead letter.
type ending struct {
	receipt
	lane      *lane
	number    uint64 // topic sequence
	size      int
	payload   *payload // stored apart; nil: inline
	wasDead   bool
	redriven  bool // its record is in the entry of a dead letter
	wasOnHold bool
	delayed   *delayed // it was; nil: it was not
	dead      []byte   // value of its entry sd, when it becomes a dead letter
	expires   uint64   // when its TTL would have ended; 0: it has none
	done      bool     // set by apply: false when it had ended before
}

// usualEvents is how many most messages have: accepted, attempt, confirmed.
const usualEvents = 3

func newEnding(e *entry, state message.State, now time.Time) *ending {
	end := new(ending)
	beginEnding(end, e, state, now, make([]message.Event, 0, usualEvents))
	return end
}

// beginEnding is newEnding with the room for it, and for its history.
func beginEnding(end *ending, e *entry, state message.State, now time.Time, events []message.Event) {
	*end = ending{lane: e.lane, number: e.msg.TopicSeq, size: e.size, payload: e.payload, redriven: e.redriven, expires: e.expires}
	end.seq, end.Receipt = e.msg.Seq, e.receiptIn(events)
	end.State, end.NextAttemptAt = state, time.Time{}
	if state.Settled() {
		end.SettledAt = now
	}
	if state == message.StateConfirmed {
		end.History.Add(message.Event{At: now, Name: "attempt", Outcome: message.OutcomeConfirmed})
	}
	event := message.Event{At: now, Name: state.String()}
	switch {
	case state == message.StateDead && e.expired:
		event.Detail = fmt.Sprintf("not confirmed within its TTL of %s", e.msg.TTL)
	case state == message.StateDead:
		event.Detail = end.LastError
	}
	end.History.Add(event)
}

// endings has room for those of one batch, which are made under the lock that every
// lane needs, and all end with one commit.
type endings struct {
	all    []ending
	events []message.Event
}

func roomForEndings(n int) *endings {
	return &endings{make([]ending, n), make([]message.Event, n*usualEvents)}
}

func (r *endings) add(e *entry, state message.State, now time.Time) *ending {
	end, events := &r.all[0], r.events[:0:usualEvents]
	r.all, r.events = r.all[1:], r.events[usualEvents:]
	beginEnding(end, e, state, now, events)
	return end
}

// endMessages ends messages; what was confirmed is posted, all else committed.
type endMessages struct{ all []*ending }

func (op *endMessages) apply(c *commit) {
	for _, e := range op.all {
		c.end(e)
	}
}

func (op *endMessages) synced(s *Spool) {
	for _, e := range op.all {
		delete(s.settling, e.seq)
		if e.State.Settled() {
			s.unblock(e.seq)
		}
	}
}

// size is an upper bound: a bitmap, a receipt, the deletion of block and index.
func (op *endMessages) size() int {
	size := fixedSize
	ranges := map[uint64]bool{}
	for _, e := range op.all {
		size += e.bytes()
		ranges[e.seq>>bitmapShift] = true
	}
	return size + len(ranges)*bitmapBytes
}

// bitmapBytes bounds the entry of a bitmap.
const bitmapBytes = 1<<bitmapShift/8 + 64 + valueOverhead

// bytes bounds what e writes, without its bitmap.
func (e *ending) bytes() int {
	const each = 448 + 5*valueOverhead // numbers, IDs and texts of a receipt and a confirmation; keys that are deleted
	size := each + len(e.dead) + len(e.Topic) + len(e.LastError) + historyBytes(e.History.First) + historyBytes(e.History.Last)
	if c := e.Confirmation; c != nil {
		size += len(c.MessageID) + len(c.OffsetMessageID) + len(c.Queue)
	}
	if e.payload != nil {
		size += int(e.payload.chunks) * deleteSize
	}
	if e.expires > 0 {
		size += deleteSize
	}
	return size
}

// historyBytes bounds what events are written as.
func historyBytes(events []message.Event) (size int) {
	for _, e := range events {
		size += len(e.Name) + len(e.Detail) + 32
	}
	return size
}

// parts cuts the endings into operations of at most limit bytes, or of one ending.
func (op *endMessages) parts(limit int) (parts []*endMessages) {
	size := limit
	for _, e := range op.all {
		n := e.bytes() + bitmapBytes
		if size += n; size > limit {
			parts, size = append(parts, &endMessages{}), fixedSize+n
		}
		last := parts[len(parts)-1]
		last.all = append(last.all, e)
	}
	return parts
}

// Confirm records that the broker answered SEND_OK for leases; confirmations
// are in their order. It is lazy: the record is synced with a commit that others share,
// within 50 ms; a crash before that sends the messages again under the same IDs.
// A lease that has ended still counts: the broker has the message.
func (s *Spool) Confirm(leases []*Lease, confirmations []message.Confirmation) {
	now := s.now()
	op := &endMessages{all: make([]*ending, 0, len(leases))}
	var ended []*endCopies
	room := roomForEndings(len(leases))
	s.mu.Lock()
	for i, l := range leases {
		if end := s.confirm(l.entry, room, now); end != nil {
			end.Confirmation = &confirmations[i]
			if at := l.TimerAt(); at.After(now) {
				end.DeliverAt = at
			}
			op.all = append(op.all, end)
		} else if e := l.entry; s.copies.sent[e.msg.Seq] == e {
			if done := s.endCopy(e, true); done != nil {
				ended = append(ended, done)
			}
		}
	}
	s.mu.Unlock()
	for _, done := range ended {
		s.post(done)
	}
	for _, part := range op.parts(s.sizes.op) {
		s.later(part)
	}
}

// confirm takes a message that the broker has from its window, or from its hold,
// when its lease had lapsed before that; nil: it is in neither. s.mu is held.
func (s *Spool) confirm(e *entry, room *endings, now time.Time) *ending {
	h := s.holds[e.msg.Seq]
	switch {
	case s.entries[e.msg.Seq] == e:
		e.attempts++
		e.lane.flowing = true
		end := room.add(e, message.StateConfirmed, now)
		s.leave(e, end)
		return end
	case h != nil:
		e.attempts, e.history = h.attempts+1, h.history
		if s.redriven[e.msg.Seq] != nil { // it was a dead letter since: it has left its block before, and its TTL has ended
			e.redriven, e.expires = true, 0
		}
		s.dropHold(e.msg.Seq, h)
		end := room.add(e, message.StateConfirmed, now)
		end.wasOnHold = true
		s.announceEnd(end)
		return end
	}
	return nil
}

// leave takes e out of its window: from here on end is what is known of it.
func (s *Spool) leave(e *entry, end *ending) {
	s.takeOut(e)
	s.announceEnd(end)
	e.lane.ready.raise() // its ordering key may be free, and there is room
}

// announceEnd lets end be seen before it is applied. s.mu is held.
func (s *Spool) announceEnd(end *ending) {
	s.settling[end.seq] = &end.receipt
	if end.delayed == nil { // else it is not waited for
		end.lane.leaving++
	}
	if end.expires > 0 {
		s.ttl.leaving++
	}
	s.notify(end.seq)
	s.left.raise()
}

// arrived is called when an ending is applied.
func (s *Spool) arrived(e *ending) {
	if !e.wasDead && e.delayed == nil {
		e.lane.leaving--
	}
	if e.expires > 0 {
		s.ttl.leaving--
	}
}

// Retry gives leases back after an attempt that was not confirmed. They are
// leasable again at due; later messages of their ordering key wait for them.
func (s *Spool) Retry(leases []*Lease, due time.Time, outcome message.Outcome, cause string) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range leases {
		e := l.entry
		if !s.owns(l) {
			continue
		}
		l.tellTimer()
		e.failed(now, outcome, clip(cause))
		e.lane.flowing = false
		e.wait(due)
		s.gaveBack(e)
		s.left.raise() // of a topic that is paused nothing else is waited for
	}
}

// Postpone gives a lease back, until due, without an attempt, and says why.
func (s *Spool) Postpone(l *Lease, due time.Time, cause string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owns(l) {
		l.tellTimer()
		l.entry.lastError = clip(cause)
		l.entry.wait(due)
		s.gaveBack(l.entry)
		s.left.raise()
	}
}

// tellTimer has it known from now on, also before its payload is read again, that the
// message is for a broker's timer. s.mu is held.
func (l *Lease) tellTimer() {
	if l.entry.msg.Timer != l.Timer {
		m := *l.entry.msg
		m.Timer, l.entry.msg = l.Timer, &m
	}
}

// wait keeps e, which is leased, from being leased again before due.
func (e *entry) wait(due time.Time) {
	e.state, e.due = message.StateRetrying, due
	e.in().wait(e)
	e.lane.ready.raise()
}

// Release gives leases back without an attempt.
func (s *Spool) Release(leases []*Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range leases {
		if s.owns(l) {
			s.giveBack(l)
		}
	}
}

// giveBack ends a lease that still holds, without an attempt. s.mu is held.
func (s *Spool) giveBack(l *Lease) {
	l.entry.in().unlease(l.entry)
	l.entry.lane.ready.raise()
	s.gaveBack(l.entry)
	s.left.raise() // all that is left may wait for a dead letter
}

// owns reports whether the lease still holds.
func (s *Spool) owns(l *Lease) bool {
	known := s.entries
	if l.entry.copy {
		known = s.copies.sent
	}
	return known[l.entry.msg.Seq] == l.entry && l.entry.state == message.StateInFlight && l.entry.lease == l.number
}

// Bury makes one leased message a dead letter: refused, alone, for what it is.
// When it returns nil that is on stable storage, or the lease had ended. A crash
// before leaves it pending. Where Options.BlockOnDead is set, later messages of its
// ordering key wait for it. Once begun it does not end with ctx.
func (s *Spool) Bury(ctx context.Context, l *Lease, reason, cause string) error {
	now := s.now()
	s.mu.Lock()
	e := l.entry
	if !s.owns(l) {
		s.mu.Unlock()
		return nil
	}
	if e.copy {
		s.mu.Unlock()
		return s.refuseCopy(context.WithoutCancel(ctx), l, cause)
	}
	e.failed(now, message.OutcomePermanent, clip(cause))
	end := newDeath(e, reason, now)
	s.leave(e, end)
	s.block(e.lane, e.msg)
	s.mu.Unlock()
	op := &endMessages{all: []*ending{end}}
	if err := s.commit(context.WithoutCancel(ctx), op); err != nil {
		return fmt.Errorf("bury message %s: %w", l.ID, err)
	}
	return nil
}

// maxDetail bounds the texts of errors that are kept, in bytes.
const maxDetail = 200

// clip cuts s at a character's border, so that it stays valid UTF-8.
func clip(s string) string {
	if len(s) <= maxDetail {
		return strings.ToValidUTF8(s, "?")
	}
	return strings.ToValidUTF8(s[:maxDetail], "")
}
