package local

import (
	"encoding/binary"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// mostKept bounds the marks that are kept in memory, a few hundred bytes each: over
// it any of them is read from the disk again.
const mostKept = 16 << 10

// heldMarks are marks that this opening began and nobody has ended, as they are
// written: what settles one need not read it. Those with a slot of the journal are nowhere
// else. It belongs to database.mu.
//
// A commit that fails leaves here what is not on the disk; it fences the database,
// so that nobody asks any more.
type heldMarks map[hash]found

// wrote is told of each mark that is written.
func (held heldMarks) wrote(h hash, m found) {
	if !m.held {
		delete(held, h)
		return
	}
	if _, known := held[h]; !known && len(held) >= mostKept {
		for other, m := range held {
			if m.slot == 0 {
				delete(held, other)
				break
			}
		}
	}
	held[h] = m
}

// deleted is told of each key that is deleted: the mark may have moved to another
// bucket since.
func (held heldMarks) deleted(key []byte) {
	bucket, h, ok := parseMarkKey(key)
	if !ok {
		return
	}
	if m, known := held[h]; known && m.bucket == bucket {
		delete(held, h)
	}
}

func parseMarkKey(key []byte) (bucket time.Duration, h hash, ok bool) {
	if len(key) != bucketKeyLen+len(h) {
		return 0, h, false
	}
	bucket = time.Duration(binary.BigEndian.Uint64(key[len(bucketPrefix):])) * time.Millisecond
	return bucket, hash(key[bucketKeyLen:]), true
}

// deleteMark takes a mark off the disk.
func (s *Store) deleteMark(tx *kv.Tx, key []byte) {
	tx.Delete(key)
	s.held.deleted(key)
}
