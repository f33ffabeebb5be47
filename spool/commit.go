package spool

import (
	"maps"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// commit gathers what the operations of one transaction change, and writes it:
//
//  1. apply: each operation changes memory, under s.mu, and notes messages,
//     endings, receipts and keys here;
//  2. seal: sequences and IDs are given to the new messages, topic by topic,
//     so that the messages of a topic are one run; blocks are encoded;
//  3. write: everything noted becomes entries of the transaction. Nothing but
//     the committer changes that state, so it needs no lock.
//
// Invariant after each commit, checked by Audit: every sequence up to the high
// water is a readable record or settled, and the counters agree.
type commit struct {
	s       *Spool
	tx      *kv.Tx
	now     time.Time
	elapsed uint64    // by the spool's own clock
	at      time.Time // that, as a time: retention counts by it

	stamp      message.Stamp // of now
	drafts     map[*lane][]*newMessage
	order      []*lane // of drafts, as they came
	blocks     []*block
	lanes      map[*lane]bool
	pauses     map[*lane]bool // topics that were paused, or resumed
	ranges     map[uint64]bool
	receipts   []*receipt
	reserved   map[keyHash]*newMessage // dedupe keys of the new messages
	keys       []keyEntry
	keyRuns    []keyRun
	exceptions map[*lane][]Exception
	prepared   []*appendMessages // of transactions
	sets       []pair
	deletes    [][]byte
	room       []byte // of the blocks' records

	bytes, entries int // written
}

type pair struct{ key, value []byte }

func newCommit(s *Spool) *commit {
	return &commit{
		s: s, drafts: map[*lane][]*newMessage{}, lanes: map[*lane]bool{}, pauses: map[*lane]bool{}, ranges: map[uint64]bool{},
		reserved: map[keyHash]*newMessage{}, exceptions: map[*lane][]Exception{},
	}
}

// begin empties c for the next transaction and keeps its memory: Badger keeps
// what it was given only until it is synced (kv.Tx).
func (c *commit) begin(tx *kv.Tx) {
	clear(c.drafts)
	clear(c.lanes)
	clear(c.pauses)
	clear(c.ranges)
	clear(c.reserved)
	clear(c.exceptions)
	now, elapsed := c.s.now(), c.s.clock.now()
	*c = commit{
		s: c.s, tx: tx, now: now, stamp: message.StampOf(now), elapsed: elapsed, at: time.UnixMilli(int64(elapsed)),
		drafts: c.drafts, lanes: c.lanes, pauses: c.pauses, ranges: c.ranges, receipts: emptied(c.receipts), reserved: c.reserved, exceptions: c.exceptions,
		order: emptied(c.order), blocks: emptied(c.blocks), keys: emptied(c.keys), keyRuns: emptied(c.keyRuns), prepared: emptied(c.prepared), sets: emptied(c.sets), deletes: emptied(c.deletes),
		room: c.room[:0],
	}
}

func emptied[T any](s []T) []T {
	clear(s)
	return s[:0]
}

// take returns an empty slice with room for size bytes, for this commit only.
func (c *commit) take(size int) []byte {
	at := len(c.room)
	if cap(c.room)-at < size {
		c.room, at = make([]byte, 0, size+at), 0
	}
	c.room = c.room[:at+size]
	return c.room[at:at:len(c.room)]
}

// needs raises the format of the spool: an older version would not see, or not
// read, what is written from now on.
func (c *commit) needs(format byte) { c.s.head.format = max(c.s.head.format, format) }

// touch makes the lane's entry be written.
func (c *commit) touch(l *lane) { c.lanes[l] = true }

// add notes a new message of lane l; seal gives it its sequence.
func (c *commit) add(l *lane, n *newMessage) {
	if len(c.drafts[l]) == 0 {
		c.order = append(c.order, l)
	}
	c.drafts[l] = append(c.drafts[l], n)
}

// seal accepts the new messages.
func (c *commit) seal() {
	c.s.head.clock, c.s.head.wall = max(c.s.head.clock, c.elapsed), millis(c.now)
	for _, l := range c.order {
		c.accept(l, c.drafts[l])
	}
	for _, op := range c.prepared {
		op.half.write(c, op.added)
	}
	c.settle()
	c.sealReceipts()
	c.sealExceptions()
}

// accept gives the messages of a lane their places: those that wait first, which have
// entries of their own. In between they would cut the run of the others, each part of
// which takes a block; as a dead letter does that is imported, at its place between what
// waits for it and what does not.
func (c *commit) accept(l *lane, added []*newMessage) {
	for _, n := range added {
		if !c.delays(n) {
			continue
		}
		c.place(l, n)
		n.due.seq = n.msg.Seq
		c.acceptDelayed(l, n)
		c.count(l, n)
	}
	for len(added) > 0 {
		n := 0
		for n < len(added) && !added[n].isDead() {
			n++
		}
		c.acceptRun(l, added[:n])
		if added = added[n:]; len(added) > 0 {
			c.place(l, added[0])
			c.count(l, added[0])
			c.acceptDead(l, added[0])
			added = added[1:]
		}
	}
	if l.flowing && l.window.atTail && !l.paused() {
		l.attempted = c.s.head.highWater
	}
	c.touch(l)
}

// acceptRun accepts those that do not wait, one behind the other.
func (c *commit) acceptRun(l *lane, run []*newMessage) {
	size := 0 // of the records still to come
	for _, n := range run {
		if n.due.seq == 0 {
			size += n.recordSize()
		}
	}
	var b *block
	for _, n := range run {
		if n.due.seq > 0 {
			continue
		}
		c.place(l, n)
		c.needs(formatOf(n.msg))
		c.beginTTL(l, n)
		if b == nil || b.origin != n.msg.ID.Spool() || b.full(n.recordSize(), c.s.sizes.block) {
			b = newBlock(l.id, n.msg, c.take(blockHeader+min(size, c.s.sizes.block)))
			c.blocks = append(c.blocks, b)
		}
		b.add(n)
		size -= n.recordSize()
		n.block = b
		c.count(l, n)
	}
}

// place gives n its sequence, ID and number, which one that waits gets when it is
// pending.
func (c *commit) place(l *lane, n *newMessage) {
	waits := n.due != due{}
	switch {
	case n.imported != nil:
		c.keepID(l, n)
	case n.moved != nil:
		c.number(l, n, waits)
	default:
		n.msg.Seq, n.msg.ID, n.msg.AcceptedAt = c.nextSeq(), c.nextID(), c.now
		if waits {
			l.numbers.earlier++
		} else {
			n.msg.TopicSeq = l.numbers.next(n.msg.ID.Spool())
		}
	}
}

// count counts a new message, and writes its payload's place and its dedupe key.
func (c *commit) count(l *lane, n *newMessage) {
	if n.payload != nil {
		rec := &n.payload.rec
		rec.Seq, rec.TopicSeq, rec.ID, rec.AcceptedAt, rec.ExpiresAt = n.msg.Seq, n.msg.TopicSeq, n.msg.ID, n.msg.AcceptedAt, n.msg.ExpiresAt
		c.sets = append(c.sets, pair{chunkSetKey(n.msg.Seq), n.payload.encode()})
	}
	c.keepKey(n)
	l.counts.accepted++
	l.counts.bytes += uint64(n.size)
	c.s.held += int64(n.size)
}

func (c *commit) nextSeq() uint64 {
	h := &c.s.head
	h.highWater++
	if uint32(h.highWater) == 0 { // the 32 bits of an ID begin anew
		if h.epoch++; h.epoch > message.MaxEpoch {
			h.newIdentity()
		}
	}
	return h.highWater
}

func (c *commit) nextID() message.ID {
	h := &c.s.head
	return message.NewStampedID(h.spoolID, h.epoch, h.highWater, c.stamp)
}

// end settles a message or makes it a dead letter, once.
func (c *commit) end(e *ending) {
	s := c.s
	s.arrived(e)
	if s.settled.has(e.seq) || (s.dead[e.seq] != nil) != e.wasDead {
		return
	}
	e.done = true
	c.touch(e.lane)
	c.endTTL(e)
	if e.wasOnHold {
		c.deletes = append(c.deletes, holdKey(e.lane.id, e.seq))
	}
	if e.dead != nil {
		s.dead[e.seq] = e.lane
		e.lane.counts.dead++
		c.sets = append(c.sets, pair{deadKey(e.lane.id, e.seq), e.dead})
		c.leavePlace(e)
		return
	}
	e.SettledAt, e.TopicSeq = c.now, e.number
	c.ranges[s.settled.set(e.seq)] = true
	*e.lane.counts.of(e.State)++
	e.lane.counts.bytes -= uint64(e.size)
	s.held -= int64(e.size)
	c.receipts = append(c.receipts, &e.receipt)
	c.except(e)
	c.retainPayload(e)
	if (e.State == message.StateCancelled || e.State == message.StateDiscarded) && s.keys.has(e.seq) {
		s.ended[e.seq] = true
		c.sets = append(c.sets, pair{endedKey(e.seq), seal([]byte{byte(e.State)})})
	}
	if e.delayed != nil {
		c.leaveDelayed(e.lane, e.delayed)
		return
	}
	if e.wasDead {
		delete(s.dead, e.seq)
		e.lane.counts.dead--
		c.deletes = append(c.deletes, deadKey(e.lane.id, e.seq))
		return
	}
	if e.redriven {
		c.deletes = append(c.deletes, deadKey(e.lane.id, e.seq))
	}
	c.leavePlace(e)
}

// leavePlace counts a pending message out of its block, or out of those that
// were redriven.
func (c *commit) leavePlace(e *ending) {
	if !e.redriven {
		c.leaveBlock(e)
		return
	}
	delete(c.s.redriven, e.seq)
	c.deletes = append(c.deletes, againKey(e.lane.id, e.seq))
}

// leaveBlock counts the message out of its block. A block that is not loaded is
// counted when it is.
func (c *commit) leaveBlock(e *ending) {
	b := e.lane.blockOf(e.seq)
	if b != nil {
		b.live--
	}
	if e.State != message.StateConfirmed && (b == nil || b.live > 0 || b.count > 1) {
		c.bar(e.seq)
	}
	if b != nil && b.live == 0 {
		c.retire(e.lane.id, b.firstSeq, b.count, b.size, e.State == message.StateConfirmed)
		e.lane.dropDeadBlock()
	}
}

// drop deletes a payload that is stored apart.
func (c *commit) drop(seq uint64, p *payload) {
	if p == nil {
		return
	}
	c.deletes = append(c.deletes, chunkSetKey(seq))
	c.dropChunks(p)
}

func (c *commit) dropChunks(p *payload) {
	if p != nil {
		c.deletes = append(c.deletes, p.keys()...)
	}
}

// settle forgets full ranges and advances the head's low range.
func (c *commit) settle() {
	for _, r := range c.s.settled.raise() {
		delete(c.ranges, r)
		c.deletes = append(c.deletes, bitmapKey(r))
	}
	c.s.head.lowRange = c.s.settled.low
}

// write turns all that was noted into entries.
func (c *commit) write() {
	for _, b := range c.blocks {
		c.set(blockKey(b.topic, b.firstSeq), b.value)
		c.set(indexKey(b.firstSeq), b.index().encode())
	}
	for _, p := range c.sets {
		c.set(p.key, p.value)
	}
	for _, r := range slices.Sorted(maps.Keys(c.ranges)) {
		c.set(bitmapKey(r), c.s.settled.ranges[r].encode())
	}
	c.writeKeys()
	for l := range c.lanes {
		c.set(topicKey(l.id), l.encode())
	}
	c.writePauses()
	for _, k := range c.deletes {
		c.delete(k)
	}
	c.set(headKey, c.s.head.encode())
}

func (c *commit) set(key, value []byte) {
	value = c.s.db.encrypt(key, value, c.take)
	c.bytes += len(key) + len(value) + kv.EntryOverhead
	c.entries++
	c.tx.Set(key, value)
}

func (c *commit) delete(key []byte) {
	c.bytes += len(key) + kv.EntryOverhead
	c.entries++
	c.tx.Delete(key)
}
