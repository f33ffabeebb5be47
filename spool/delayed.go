package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// delayed is a message that is not pending yet. It has an entry of its own, sy,
// with its record, and one in the index of due times, sq; no memory. When it is
// due it moves to the end of its topic, under a new sequence and the ID that it
// has (falldue.go). A half message is one that is due when its transaction is
// committed, which no index tells (decide.go).
type delayed struct {
	due         due       // of a half message: its clock, and the number of its transaction
	deliverAt   time.Time // of the wall clock, as far as that could be told
	key         keyHash   // zero: none
	fingerprint uint64
	delay       time.Duration // of a half message, from its commit on
	transaction string        // of a half message: the ID of its transaction
	record      message.Record
}

// half reports whether it is a half message.
func (d *delayed) half() bool { return d.due.clock == clockHalf }

// encodeDelayed makes the value of an entry sy, for a message that has its sequence, in
// room.
func encodeDelayed(room []byte, n *newMessage) []byte {
	b := binary.AppendUvarint(append(room, byte(n.due.clock)), n.due.at)
	b = binary.AppendUvarint(b, millis(n.deliverAt))
	b = binary.BigEndian.AppendUint64(append(b, n.key[:]...), n.fingerprint)
	if n.half != nil {
		b = appendText(binary.AppendUvarint(b, uint64(n.delay.Milliseconds())), n.half.ID)
	}
	return seal(n.appendRecord(b))
}

// delayedHead bounds what stands before the record.
const delayedHead = 1 + 2*binary.MaxVarintLen64 + 16 + 8

// delayedSize bounds what encodeDelayed makes of n.
func (n *newMessage) delayedSize() int {
	size := delayedHead + n.recordSize() + trailer
	if n.half != nil {
		size += n.half.extra()
	}
	return size
}

// delayRoom is what a message takes in its commit for being delayed.
const delayRoom = delayedHead + 2*deleteSize + 2*valueOverhead

func decodeDelayed(v []byte) (d delayed, err error) {
	b, err := unseal(v)
	if err != nil {
		return d, fmt.Errorf("read delayed message: %w", err)
	}
	f := fields{b: b}
	d.due = due{clock: dueClock(f.raw(1)[0]), at: f.uint()}
	d.deliverAt = f.time()
	copy(d.key[:], f.raw(len(d.key)))
	d.fingerprint = binary.BigEndian.Uint64(f.raw(8))
	if d.half() {
		d.delay, d.transaction = f.millis(), f.text()
		if d.deliverAt.UnixMilli() == 0 {
			d.deliverAt = time.Time{}
		}
	}
	if f.failed || !d.due.clock.delays() && !d.half() {
		return d, fmt.Errorf("read delayed message: %w", errDamaged)
	}
	if d.record, _, err = message.DecodeRecord(f.b); err != nil {
		return d, fmt.Errorf("read delayed message: %w", err)
	}
	d.due.seq = d.record.Seq
	return d, nil
}

// receipt of a delayed message.
func (d *delayed) receipt() message.Receipt {
	r := acceptedReceipt(&d.record.Message)
	if d.half() {
		r.State = message.StateHalf
	} else {
		r.State, r.DeliverAt = message.StateDelayed, d.deliverAt
	}
	return r
}

// delays reports whether a message that is being accepted has to wait, and until
// when. Both clocks are those of the commit.
func (c *commit) delays(n *newMessage) bool {
	switch {
	case n.half != nil:
		n.due = due{clock: clockHalf, at: n.half.number}
	case n.timed && c.timed(n):
		return n.due.at > 0
	case n.delay > 0:
		n.due = due{clock: clockElapsed, at: c.elapsed + uint64(n.delay.Milliseconds())}
		n.deliverAt = c.now.Add(n.delay)
	case n.deliverAt.After(c.now):
		n.due = due{clock: clockWall, at: uint64(n.deliverAt.UnixMilli())}
	default:
		return false
	}
	return true
}

// acceptDelayed writes a message that has its sequence into entries of its own.
func (c *commit) acceptDelayed(l *lane, n *newMessage) {
	c.needs(formatOf(n.msg))
	c.sets = append(c.sets, pair{delayedKey(n.msg.Seq, l.id), encodeDelayed(c.take(n.delayedSize()), n)})
	if n.half != nil {
		c.needs(formatHalf)
		l.counts.half++
		c.s.half++
		return
	}
	c.needs(2)
	l.counts.delayed++
	c.s.delayed++
	c.sets = append(c.sets, pair{n.due.key(), nothing})
}

// leaveDelayed deletes the entries of a delayed or half message.
func (c *commit) leaveDelayed(l *lane, d *delayed) {
	c.deletes = append(c.deletes, delayedKey(d.record.Seq, l.id))
	if d.half() {
		l.counts.half--
		c.s.half--
		return
	}
	l.counts.delayed--
	c.s.delayed--
	c.deletes = append(c.deletes, d.due.key())
}

// findDelayed reads a delayed or half message. kv.ErrNotFound: none has that sequence.
func (s *Spool) findDelayed(seq uint64) (d delayed, err error) {
	s.mu.Lock()
	some, lanes := s.delayed+s.half > 0, s.fewLanes()
	s.mu.Unlock()
	err = kv.ErrNotFound
	if !some {
		return d, err
	}
	for _, lane := range lanes {
		key := delayedKey(seq, lane)
		v, err := s.db.Get(key)
		if errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return d, fmt.Errorf("read delayed message: %w", err)
		}
		return s.delayedAt(key, v, seq)
	}
	prefix := key64(delayedPrefix, seq)
	scanErr := s.db.Scan(kv.Scan{Prefix: prefix}, func(k, v []byte) (bool, error) {
		if !fits(k) {
			return true, nil
		}
		d, err = s.delayedAt(k, v, seq)
		return false, nil
	})
	if scanErr != nil {
		return d, scanErr
	}
	return d, err
}

// mostLanes is up to how many topics a delayed message is looked for by its key under
// each: that costs less than an iterator, which opens all tables, and begins a new
// version (docs/adr/0037).
const mostLanes = 4

// fewLanes are all lanes, or none if they are many. s.mu is held.
func (s *Spool) fewLanes() (all []uint32) {
	if len(s.byID) > mostLanes {
		return nil
	}
	for id, l := range s.byID {
		if l.counts.delayed+l.counts.half > 0 {
			all = append(all, id)
		}
	}
	return all
}

// delayedAt reads an entry that is to be that of a sequence.
func (s *Spool) delayedAt(key, v []byte, seq uint64) (delayed, error) {
	d, err := decodeDelayed(v)
	if err != nil || d.record.Seq != seq {
		s.notice(nameOf(key))
	}
	return d, err
}

// findRecord returns the record of a held message that is no dead letter; of a
// delayed one also what delays it.
func (s *Spool) findRecord(seq uint64) (r message.Record, until *delayed, err error) {
	d, err := s.findDelayed(seq)
	if err == nil {
		return d.record, &d, nil
	}
	r, err = s.readRecord(seq)
	return r, nil, err
}
