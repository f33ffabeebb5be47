package spool

import (
	"encoding/binary"
	"time"

	"github.com/remora-mq/remora/message"
)

// A message with a TTL has an entry in the index of due times from when it is
// pending, by a clock of its own: it goes on as time passes, whatever the wall
// clock says. The transaction that settles the message, or makes it a dead letter,
// deletes the entry. What the index leads to in time becomes a dead letter
// (expiry.go). The record tells the same, so the index can be written again.

// ttls is what is in memory of the messages with a TTL that has begun. s.mu guards it.
type ttls struct {
	held    uint64         // over all lanes
	overdue map[uint64]due // of those, what has expired and is in flight, by sequence
	leaving int            // and what has an ending that no commit has applied yet
	expired uint64         // dead letters that this process made of them
	sooner  signal         // a TTL ends before keepTTLs wakes
}

// ttlBytes bounds what a TTL adds to a record.
const ttlBytes = 2 * binary.MaxVarintLen64

// expirySize bounds the entry of a TTL in the index.
const expirySize = 2*deleteSize + valueOverhead

// ttlSize bounds what the TTL of a new message writes beside its record.
func (n *newMessage) ttlSize() int {
	if n.msg.TTL == 0 {
		return 0
	}
	return expirySize
}

// formatOf is the oldest format that has records as that of m.
func formatOf(m *message.Message) byte {
	switch {
	case !m.Timer.IsZero():
		return formatTimer
	case m.TTL > 0:
		return formatTTL
	}
	return 1
}

// wholeMillis rounds a TTL up to what is stored.
func wholeMillis(ttl time.Duration) time.Duration {
	return (max(ttl, 0) + time.Millisecond - 1).Truncate(time.Millisecond)
}

// expiryOf is when the TTL of m ends, in milliseconds of the spool's clock; 0:
// it has none, or one that has not begun.
func expiryOf(m *message.Message) uint64 {
	if m.ExpiresAt.IsZero() {
		return 0
	}
	return millis(m.ExpiresAt)
}

// beginTTL begins the TTL of a message that is pending from now on; of one that waits
// for a broker's timer, when it is due. That of one
// that was imported goes on: until its ExpiresAt, which is of the wall clock.
func (c *commit) beginTTL(l *lane, n *newMessage) {
	m := n.msg
	if m.TTL == 0 {
		return
	}
	left := m.TTL
	if !m.ExpiresAt.IsZero() {
		left = min(max(m.ExpiresAt.Sub(c.now), 0), left)
	}
	if n.timed {
		left += max(n.deliverAt.Sub(c.now), 0)
	}
	at := c.elapsed + uint64(left.Milliseconds())
	m.ExpiresAt = time.UnixMilli(int64(at))
	c.needs(formatTTL)
	l.counts.expiring++
	c.s.ttl.held++
	c.sets = append(c.sets, pair{due{clockTTL, at, m.Seq}.key(), nothing})
}

// endTTL is called when a message ends, or becomes a dead letter.
func (c *commit) endTTL(e *ending) {
	if e.expires == 0 {
		return
	}
	e.lane.counts.expiring--
	c.s.ttl.held--
	delete(c.s.ttl.overdue, e.seq)
	c.deletes = append(c.deletes, due{clockTTL, e.expires, e.seq}.key())
}

// tellTTL puts the end of a TTL into terms of the wall clock of now, in m, a copy.
func (s *Spool) tellTTL(m *message.Message) {
	if at := expiryOf(m); at > 0 {
		left := time.Duration(int64(at)-int64(s.clock.now())) * time.Millisecond
		m.ExpiresAt = s.now().Add(left)
	}
}

// needs notes that there is m: the head, which says so, may be lost. What is stored apart of
// a message may say more.
func (b *books) needs(m *message.Message) { b.head.format = max(b.head.format, formatOf(m)) }

// expires counts a held record with a TTL, and sees to its place in the index.
func (b *books) expires(a *account, r message.Record) {
	b.needs(&r.Message)
	if at := expiryOf(&r.Message); at > 0 {
		a.expiring++
		b.place(due{clockTTL, at, r.Seq})
	}
}
