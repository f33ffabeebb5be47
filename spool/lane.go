package spool

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/remora-mq/remora/message"
)

// lane is everything known of one topic. The durable part changes only on the
// committer's goroutine; the window belongs to whoever holds Spool.mu.
type lane struct {
	id    uint32
	topic string

	// Durable, in the entry st.
	counts    counts
	cursor    uint64 // no block of this topic begins before it
	attempted uint64 // no attempt was ever made for a sequence above it
	numbers   numbering

	exceptions uint64 // that are kept, of all that were ever noted
	resent     uint64 // copies that were confirmed

	pausedAt time.Time // since when an operator keeps all of it back; zero: nobody does

	// attemptedAtOpen is attempted as it was found: at or below it, a former
	// process may have sent what is still held.
	attemptedAtOpen uint64
	attemptedSynced uint64 // value of attempted that is on disk

	lastSeq uint64 // of the newest synced message
	window  window
	copies  laneCopies
	bound   bindings
	blocks  []*blockState // loaded, in order
	deleted int           // of blocks: deleted, and still there
	again   []uint64      // redriven messages that are not in the window
	ready   signal        // something may be leasable
	raising bool          // a commit raises attempted
	flowing bool          // attempts succeed: what is accepted will be sent at once

	announced     bool    // NextTopic has told of it, or will
	onHold        int     // messages that an operator keeps back
	delayedOnHold int     // others, that are delayed
	againBusy     bool    // some of again are being read
	againLoad     int64   // what that may bring in
	reading       int64   // what all reads of it that are under way may bring in
	leaving       int     // messages with an ending that no commit has applied yet
	starving      bool    // it is among those that wait for room
	turns         float64 // that it has had, divided by its weight
	weight        int
	forTurn       bool      // it waits for its turn, not for any room
	waits         time.Time // for its turn, since then; zero: it does not
	putOff        int       // how often in a row it was not read on for a little room
}

// counts are the ledger of one topic. accepted is the sum of all others and
// what is held.
type counts struct {
	accepted, confirmed, cancelled, rolledBack, discarded, lost uint64

	moved uint64 // sequences of messages that were delayed or half, which have another now: accepted counts them twice

	dead     uint64 // held as dead letters
	delayed  uint64 // held, and not pending yet
	expiring uint64 // held, with a TTL that has begun
	bytes    uint64 // of all that is held
	half     uint64 // held, of transactions that are not decided
}

func (c *counts) settled() uint64 {
	return c.confirmed + c.cancelled + c.rolledBack + c.discarded + c.lost + c.moved
}

func (c *counts) held() uint64 { return c.accepted - c.settled() }

// waiting are those that the forwarder will get, or has.
func (c *counts) waiting() uint64 { return c.held() - c.dead - c.delayed - c.half }

// of returns the counter of a settled state.
func (c *counts) of(s message.State) *uint64 {
	switch s {
	case message.StateConfirmed:
		return &c.confirmed
	case message.StateCancelled:
		return &c.cancelled
	case message.StateRolledBack:
		return &c.rolledBack
	case message.StateDiscarded:
		return &c.discarded
	case message.StateLost:
		return &c.lost
	default:
		panic(fmt.Sprintf("spool: %s is not a settled state", s))
	}
}

func (c *counts) all() []*uint64 {
	return []*uint64{&c.accepted, &c.confirmed, &c.cancelled, &c.rolledBack, &c.discarded, &c.lost, &c.dead, &c.bytes}
}

func (l *lane) encode() []byte {
	b := appendText(make([]byte, 0, 128), l.topic)
	for _, n := range l.counts.all() {
		b = binary.AppendUvarint(b, *n)
	}
	b = binary.AppendUvarint(b, l.cursor)
	b = binary.AppendUvarint(b, l.attempted)
	b = binary.AppendUvarint(l.numbers.append(b), l.exceptions)
	b = binary.AppendUvarint(b, l.resent)
	b = binary.AppendUvarint(binary.AppendUvarint(b, l.counts.delayed), l.counts.moved)
	b = binary.AppendUvarint(binary.AppendUvarint(b, l.counts.expiring), l.counts.half)
	return seal(binary.AppendUvarint(b, l.pausedMillis()))
}

func decodeLane(id uint32, v []byte) (*lane, error) {
	b, err := unseal(v)
	if err != nil {
		return nil, fmt.Errorf("read topic %d: %w", id, err)
	}
	f := fields{b: b}
	l := newLane(id, f.text())
	for _, n := range l.counts.all() {
		*n = f.uint()
	}
	l.cursor, l.attempted = f.uint(), f.uint()
	l.attemptedAtOpen, l.attemptedSynced = l.attempted, l.attempted
	if len(f.b) == 0 && !f.failed { // written before messages were numbered
		l.numbers.earlier = l.counts.accepted
	} else {
		l.numbers = decodeNumbering(&f)
	}
	if len(f.b) > 0 { // else written before exceptions were kept
		l.exceptions = f.uint()
	}
	if len(f.b) > 0 { // else before messages were sent again
		l.resent = f.uint()
	}
	if len(f.b) > 0 { // else before messages were delayed
		l.counts.delayed, l.counts.moved = f.uint(), f.uint()
	}
	if len(f.b) > 0 { // else before they had a TTL
		l.counts.expiring = f.uint()
	}
	if len(f.b) > 0 { // else before there were transactions
		l.counts.half = f.uint()
	}
	if len(f.b) > 0 { // else before topics were paused
		l.pausedAt = pausedSince(f.uint())
	}
	return l, f.err("read topic")
}

func newLane(id uint32, topic string) *lane {
	l := &lane{id: id, topic: topic, window: newWindow(), ready: newSignal(), flowing: true}
	l.copies.window = newWindow()
	l.copies.window.busy = l.window.busy // one attempt at a time for an ordering key
	l.copies.window.attempted = l.window.attempted
	return l
}

// blockState is what has to be known of a block to delete it in time.
type blockState struct {
	firstSeq uint64
	count    int
	live     int // records that are held here: not settled, not moved to a dead letter
	size     int // bytes of its entry
}

// entry is a held message in memory.
type entry struct {
	msg     *message.Message // without the payload's fields while that is stored apart
	payload *payload         // stored apart; nil: inline
	lane    *lane
	size    int           // in the ledger
	state   message.State // pending, in_flight, retrying; cancelled while that is being written

	tried
	due     time.Time // end of the lease, or of the backoff
	expires uint64    // when its TTL ends, in milliseconds of the spool's clock; 0: never
	expired bool      // it is about to be a dead letter because of that
	lease   uint64    // number of the current lease

	prev, next *entry // in window.ready
	queued     bool
	queue      string // that its ordering key is bound to, since it is ready; "": none
	redriven   bool   // its record is in the entry of a dead letter, not in a block
	copy       bool   // of a message that was confirmed before: it is sent again
}

func newEntry(l *lane, m *message.Message, p *payload) *entry {
	e := &entry{msg: m, payload: p, lane: l, size: m.Size(), state: message.StatePending}
	if p != nil {
		e.msg, e.size = &p.rec.Message, heldSize(p.rec)
	}
	e.expires = expiryOf(e.msg)
	return e
}

// bringIn and takeOut tell the window of e of it. s.mu is held.
func (s *Spool) bringIn(e *entry) {
	s.entries[e.msg.Seq] = e
	e.lane.window.add(e)
	s.windows += e.cost()
}

func (s *Spool) takeOut(e *entry) {
	e.lane.window.remove(e)
	delete(s.entries, e.msg.Seq)
	s.windows -= e.cost()
	s.feed()
}

// in is the window that e is in.
func (e *entry) in() *window {
	if e.copy {
		return &e.lane.copies.window
	}
	return &e.lane.window
}

// record of the message, as it is stored.
func (e *entry) record() message.Record {
	if e.payload != nil {
		return e.payload.rec
	}
	return message.Record{Message: *e.msg}
}

// cost is about what e takes in memory, in bytes.
func (e *entry) cost() int64 { return costOf(e.msg, e.payload, e.size) }

func costOf(m *message.Message, stored *payload, size int) int64 {
	if stored != nil {
		return entryCost + int64(len(m.Topic)+len(m.OrderingKey))
	}
	return entryCost + int64(size)
}

const entryCost = 256 // what one takes itself

// signal wakes one waiter, and keeps one wake-up that came early.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// blockOf returns the loaded block that holds seq, nil when it is not loaded.
func (l *lane) blockOf(seq uint64) *blockState {
	i := sort.Search(len(l.blocks), func(i int) bool { return l.blocks[i].firstSeq > seq })
	if i == 0 {
		return nil
	}
	if b := l.blocks[i-1]; seq < b.firstSeq+uint64(b.count) {
		return b
	}
	return nil
}

// dropDeadBlock forgets a block that is deleted. Those at the front move the
// cursor behind them; others are swept out when they are the larger part, so
// that one message that waits long costs no memory for what passes it.
func (l *lane) dropDeadBlock() {
	l.deleted++
	for len(l.blocks) > 0 && l.blocks[0].live == 0 {
		l.cursor = l.blocks[0].firstSeq + uint64(l.blocks[0].count)
		l.blocks[0] = nil
		l.blocks = l.blocks[1:]
		l.deleted--
	}
	if l.deleted > 16 && l.deleted > len(l.blocks)/2 {
		l.blocks = slices.DeleteFunc(l.blocks, func(b *blockState) bool { return b.live == 0 })
		l.deleted = 0
	}
}
