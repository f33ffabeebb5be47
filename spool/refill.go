package spool

import (
	"errors"
	"fmt"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// refillBytes is how much of a lane one read brings into memory at most.
const refillBytes = 1 << 20

// diskBlock is a block as it was read.
type diskBlock struct {
	firstSeq uint64
	count    int
	damaged  bool // not all of it could be read, nor is known how much that is
	size     int  // bytes of its entry
	records  []*message.Record
	entries  []*entry // of the records, to be brought in; nil: its payload is not known
	payloads map[uint64]*payload
}

// loadBlocks brings the next blocks of l into its window, from the remembered
// place on: never by a search from the front, over what was deleted.
func (s *Spool) loadBlocks(l *lane) error {
	defer s.oneRead()()
	return s.enterBlocks(l, s.readBehind(l))
}

// oneRead waits until few others read, and has the place until done is called.
func (s *Spool) oneRead() (done func()) {
	s.readers <- struct{}{}
	return func() { <-s.readers }
}

// reading is what one read of a lane brought. It began behind the window, when
// lastSeq was the newest message of the lane, and reached the end, or not.
type reading struct {
	blocks  []diskBlock
	end     bool
	lastSeq uint64
	err     error
}

func (s *Spool) readBehind(l *lane) (r reading) {
	s.mu.Lock()
	from, most := max(l.window.loadedTo+1, l.cursor), l.window.load
	if b := l.blockOf(from); b != nil { // the rest of it had no room
		from = b.firstSeq
	}
	r.lastSeq, l.window.counted, l.window.behind = l.lastSeq, false, 0
	s.mu.Unlock()
	r.blocks, r.end, r.err = s.readBlocks(l, from, most)
	for i := range r.blocks {
		r.blocks[i].makeEntries(l)
	}
	return r
}

// cost is what the whole of b would take in memory, in bytes, or more: an encoded record
// has all that Size counts, each text with its length, and is never smaller.
func (b *diskBlock) cost() int64 { return int64(b.size + entryCost*len(b.records)) }

// makeEntries is done before they are brought in: every lane needs the lock for that.
func (b *diskBlock) makeEntries(l *lane) {
	b.entries = make([]*entry, len(b.records))
	for i, r := range b.records {
		if p := b.payloads[r.Seq]; r.PayloadSize == 0 || p != nil {
			b.entries[i] = newEntry(l, &r.Message, p)
		}
	}
}

func (s *Spool) enterBlocks(l *lane, r reading) error {
	s.mu.Lock()
	l.window.loading = false
	left := s.granted(l, &l.window.load)
	l.ready.raise()
	s.left.raise() // a drain may find that all of it waits behind a hold
	if r.err != nil {
		s.feed()
		s.mu.Unlock()
		return fmt.Errorf("read topic %s: %w", l.topic, r.err)
	}
	var empty []*dropBlock
	whole := true
	for _, b := range r.blocks {
		// Nothing of it would enter, and the next read would count it again. Only because
		// cost is never too low was no such block read.
		if whole = left > 0; !whole {
			break
		}
		if !s.enterBlock(l, b) {
			empty = append(empty, &dropBlock{l, b})
		}
		if whole = s.enterRecords(l, b, &left); !whole {
			break
		}
	}
	// What was accepted while we read is on disk behind us: read on.
	l.window.counted = r.end && whole
	l.window.atTail = l.window.counted && l.lastSeq == r.lastSeq
	s.feed()
	s.mu.Unlock()
	for _, op := range empty {
		s.post(op)
	}
	return nil
}

// enterBlock counts what is held in b, once; false: that is nothing.
func (s *Spool) enterBlock(l *lane, b diskBlock) bool {
	if b.firstSeq <= l.window.loadedTo { // this is the rest of it
		return true
	}
	live := s.liveOf(b)
	if live > 0 {
		s.addBlock(l, b.firstSeq, b.count, live, b.size)
	}
	return live > 0
}

// enterRecords makes the held messages of b leasable, while there is some of the bytes
// left; false: the rest of them has no room.
func (s *Spool) enterRecords(l *lane, b diskBlock, left *int64) bool {
	for i, r := range b.records {
		if r.Seq <= l.window.loadedTo {
			continue
		}
		if *left <= 0 {
			return false
		}
		before := s.windows
		if !s.passes(&r.Message) && b.entries[i] != nil {
			s.addEntry(l, b.entries[i])
		}
		l.window.loadedTo = r.Seq
		*left -= s.windows - before
	}
	l.window.loadedTo = b.firstSeq + uint64(b.count) - 1
	return true
}

// liveOf counts what is held in b, readable or not. A damaged block counts one
// more, so that it is never deleted: what could not be read may yet be.
func (s *Spool) liveOf(b diskBlock) (live int) {
	if b.damaged {
		live++
	}
	for n := range uint64(b.count) {
		if seq := b.firstSeq + n; !s.settled.has(seq) && !s.apart(seq) {
			live++
		}
	}
	return live
}

// readBlocks reads about refillBytes from the block that begins at or after from, or
// the blocks in which there are so many bytes in memory; end: nothing was behind it.
func (s *Spool) readBlocks(l *lane, from uint64, most int64) (blocks []diskBlock, end bool, err error) {
	size := 0
	end = true
	prefix := key32(blockPrefix, l.id)
	err = s.db.Scan(kv.Scan{Prefix: prefix, From: blockKey(l.id, from), Whole: true}, func(k, v []byte) (bool, error) {
		if size >= refillBytes || most <= 0 {
			end = false
			return false, nil
		}
		if !fits(k) {
			s.notice(nameOf(k))
			return true, nil
		}
		size += len(v)
		b := s.decodeBlock(l, tail64(k, len(prefix)), v)
		most -= b.cost()
		blocks = append(blocks, b)
		return true, nil
	})
	if err != nil {
		return nil, false, s.mustSee(fmt.Errorf("from sequence %d: %w", from, err))
	}
	for _, b := range blocks {
		if err := s.findPayloads(b); err != nil {
			return nil, false, err
		}
	}
	return blocks, end, nil
}

// decodeBlock reads what can be read: a damaged record stops nothing else. One
// that is not settled, which is how a lost one ends, is noticed.
func (s *Spool) decodeBlock(l *lane, firstSeq uint64, v []byte) diskBlock {
	b := diskBlock{firstSeq: firstSeq, size: len(v), payloads: map[uint64]*payload{}}
	next := firstSeq
	// Each record by itself: one that waits long must not keep its neighbours' bodies in memory.
	err := records(v, func(r message.Record) {
		if r.Seq >= next {
			b.records = append(b.records, &r)
			next = r.Seq + 1
		}
	})
	b.count = max(1, int(next-firstSeq))
	if err == nil {
		return b
	}
	if x, indexErr := s.indexOf(firstSeq); indexErr == nil && x.topic == l.id && x.count >= b.count {
		b.count = x.count
	} else {
		b.damaged = true // nothing vouches for the number: a larger one would hide the blocks behind
	}
	if unread := s.unsettledOf(b); b.damaged || len(unread) > 0 {
		s.notice(fmt.Sprintf("topic %s, sequences %v of %d to %d: %v", l.topic, unread, firstSeq, firstSeq+uint64(b.count)-1, err))
	}
	return b
}

func (s *Spool) indexOf(firstSeq uint64) (index, error) {
	v, err := s.db.Get(indexKey(firstSeq))
	if err != nil {
		return index{}, err
	}
	return decodeIndex(v)
}

// unsettledOf are the sequences of b that were not read and are not settled.
func (s *Spool) unsettledOf(b diskBlock) (all []uint64) {
	read := map[uint64]bool{}
	for _, r := range b.records {
		read[r.Seq] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for seq := b.firstSeq; seq < b.firstSeq+uint64(b.count); seq++ {
		if !read[seq] && !s.settled.has(seq) && !s.apart(seq) {
			all = append(all, seq)
		}
	}
	return all
}

// findPayloads passes over a payload that cannot be found, unless the spool ends for it.
func (s *Spool) findPayloads(b diskBlock) error {
	for _, r := range b.records {
		if r.PayloadSize == 0 {
			continue
		}
		p, err := s.surePayload(*r)
		switch {
		case err == nil:
			b.payloads[r.Seq] = p
		case errors.Is(err, ErrReadOnly):
			return err
		case !s.isSettled(r.Seq):
			s.notice(fmt.Sprintf("topic %s, sequence %d: %v", r.Topic, r.Seq, err))
		}
	}
	return nil
}

func (s *Spool) isSettled(seq uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settled.has(seq) || elsewhere(seq)
}

// dropBlock passes over a block of which nothing is held, and retires it unless
// that was done.
type dropBlock struct {
	lane  *lane
	block diskBlock
}

func (d *dropBlock) size() int { return fixedSize }

func (d *dropBlock) apply(c *commit) {
	if !c.s.retained.blocks.has(d.block.firstSeq) {
		c.retire(d.lane.id, d.block.firstSeq, d.block.count, d.block.size, true)
	}
	read := d.block.firstSeq <= d.lane.window.loadedTo // else what was before it was put back (pause.go)
	if read && (len(d.lane.blocks) == 0 || d.lane.blocks[0].firstSeq > d.block.firstSeq) {
		d.lane.cursor = max(d.lane.cursor, d.block.firstSeq+uint64(d.block.count))
	}
	c.touch(d.lane)
}

func (d *dropBlock) synced(*Spool) {}
