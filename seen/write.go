package seen

import (
	"encoding/binary"
	"errors"
	"maps"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// How a message came to its end.
type How uint8

const (
	// Handled: the handler answered 200, or the delivery was acked by its ID.
	Handled How = iota
	// Repeated: it was handled before, and acked without a call.
	Repeated
	// Dead: the broker has it as a dead letter of the group.
	Dead
)

func (h How) String() string { return [...]string{"handled", "repeated", "dead"}[h] }

// op is one note on its way through a commit, or the beginning or end of streams.
type op struct {
	stream *Stream
	origin message.SpoolID
	number uint64 // 0: no note
	how    How
	begin  bool // of stream
	end    bool // of all streams
}

// blockSize is what a block counts for in Options.Limit: its entry is between a few
// bytes and twice as much.
const blockSize = blockKeyLen + perBlock/8

// opSize is what Write may set for one operation: a block, the forgetting of
// another, and the entries of a stream.
const opSize = 2*blockKeyLen + maxBlock + placeKeyLen + 8 + 2*(3+4) + maxMeta + 5*kv.EntryOverhead

// Write applies ops in order; see kv.Participant. It runs on the committer.
func (s *Store) Write(tx *kv.Tx, ops []*op) error {
	dirty := map[address]*block{}
	for _, o := range ops {
		if o.number > 0 {
			if err := s.note(tx, o, dirty); err != nil {
				return err
			}
		}
		s.writeStreams(tx, o)
	}
	for a, b := range dirty {
		tx.Set(a.key(), b.encode())
	}
	s.shrinkCache(dirty)
	return nil
}

// Synced implements kv.Participant.
func (s *Store) Synced([]*op) {}

func (s *Store) note(tx *kv.Tx, o *op, dirty map[address]*block) error {
	a, i := place{o.stream.id, o.origin}.of(o.number)
	s.mu.Lock()
	forgotten := s.extent(a.place).forgotten
	s.mu.Unlock()
	if o.number <= forgotten {
		return nil
	}
	b, err := s.block(tx, a, o.stream, dirty)
	if err != nil {
		return err
	}
	if b.note(i, o.how) {
		dirty[a] = b
	}
	return nil
}

// block returns the block of an address, from memory, the disk, or a new one.
func (s *Store) block(tx *kv.Tx, a address, st *Stream, dirty map[address]*block) (*block, error) {
	if b := s.cache[a]; b != nil {
		return b, nil
	}
	v, err := tx.Get(a.key())
	var b *block
	switch {
	case errors.Is(err, kv.ErrNotFound):
		b = &block{}
		s.added(tx, a, dirty)
	case err != nil:
		return nil, err
	default:
		if b, err = decodeBlock(v); err != nil {
			s.o.Logger.Warn("a block of notes of handled messages is damaged, and begun anew", "error", err)
			b = &block{}
			s.mu.Lock()
			st.doubt(s.o.Now())
			s.mu.Unlock()
		}
	}
	s.cache[a] = b
	return b, nil
}

// added counts a new block, and forgets another one where there are too many.
func (s *Store) added(tx *kv.Tx, a address, dirty map[address]*block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.extent(a.place)
	if x.blocks == 0 || a.block < x.low {
		x.low = a.block
	}
	x.blocks++
	s.blocks++
	if int64(s.blocks)*int64(blockSize) > s.o.Limit {
		s.forget(tx, dirty)
	}
}

// forget drops the lowest block of the place that has most, if it has another one.
// What else is written in this commit is not found by it, and stays. mu is held.
func (s *Store) forget(tx *kv.Tx, dirty map[address]*block) {
	var p place
	most := &extent{blocks: 1}
	for at, x := range s.places {
		if x.blocks > most.blocks {
			p, most = at, x
		}
	}
	if most.blocks == 1 {
		return
	}
	low := address{p, most.low}
	err := s.db.Scan(kv.Scan{Prefix: p.key(blockPrefix), From: low.key(), KeysOnly: true}, func(k, _ []byte) (bool, error) {
		found, ok := readAddress(k)
		if !ok {
			return true, nil
		}
		tx.Delete(found.key())
		delete(s.cache, found)
		delete(dirty, found)
		most.blocks--
		s.blocks--
		most.low = found.block + 1
		most.forgotten = found.first() + perBlock - 1
		tx.Set(p.key(forgottenPrefix), binary.BigEndian.AppendUint64(nil, most.forgotten))
		return false, nil
	})
	if err != nil {
		s.o.Logger.Warn("notes of handled messages cannot be forgotten, and take more room", "error", err)
	}
}

// writeStreams writes what has to be known of a stream before its next note counts.
func (s *Store) writeStreams(tx *kv.Tx, o *op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.end {
		for _, st := range s.streams {
			s.rewrite(tx, st)
			tx.Delete(streamKey(runningPrefix, st.id))
		}
		return
	}
	st := o.stream
	if st == nil {
		return
	}
	st.rewrites = st.rewrites || o.begin
	s.rewrite(tx, st)
	switch {
	case o.begin && st.lazy:
		tx.Set(streamKey(runningPrefix, st.id), []byte{1})
	case o.begin:
		tx.Delete(streamKey(runningPrefix, st.id))
	}
}

func (s *Store) rewrite(tx *kv.Tx, st *Stream) {
	if st.rewrites {
		tx.Set(streamKey(metaPrefix, st.id), st.encode(s.o.Keys))
		st.rewrites = false
	}
}

// shrinkCache keeps memory bounded; what it drops is read again.
func (s *Store) shrinkCache(keep map[address]*block) {
	if len(s.cache) <= maxCached {
		return
	}
	maps.DeleteFunc(s.cache, func(a address, _ *block) bool {
		_, kept := keep[a]
		return !kept && len(s.cache) > maxCached/2
	})
}
