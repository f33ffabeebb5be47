package notes

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// MaxReasons is how many reasons are kept, of all groups together.
const MaxReasons = 50_000

// maxCause is the longest cause in bytes.
const maxCause = 200

// Reason is why a message became a dead letter, as the gate that gave it up knows.
type Reason struct {
	Cause    string // as "rejected: 422"; few
	Attempts int    // calls of the handler that counted
	At       time.Time
}

// hash names a message of a group.
type hash [16]byte

func hashOf(group, identity string) hash {
	b := binary.AppendUvarint(nil, uint64(len(group)))
	sum := sha256.Sum256(append(append(b, group...), identity...))
	return hash(sum[:])
}

type numbered struct {
	hash
	Reason
}

// reasons are the newest ones, by number. A message has one: that of its last death.
type reasons struct {
	all    map[uint64]numbered
	of     map[hash]uint64
	first  uint64 // no number below it is in use
	last   uint64
	causes map[string]string // so that few texts are in memory
}

func newReasons() reasons {
	return reasons{all: map[uint64]numbered{}, of: map[hash]uint64{}, causes: map[string]string{}}
}

// put adds a reason, and returns the numbers that have to go.
func (r *reasons) put(number uint64, one numbered, most int) (gone []uint64) {
	if known, ok := r.causes[one.Cause]; ok {
		one.Cause = known
	} else if len(r.causes) < 1000 {
		r.causes[one.Cause] = one.Cause
	}
	if old, ok := r.of[one.hash]; ok {
		delete(r.all, old)
		gone = append(gone, old)
	}
	r.all[number], r.of[one.hash] = one, number
	for r.last = max(r.last, number); len(r.all) > most; r.first++ {
		if old, ok := r.all[r.first]; ok {
			delete(r.all, r.first)
			delete(r.of, old.hash)
			gone = append(gone, r.first)
		}
	}
	return gone
}

// Note says why a message of a group becomes a dead letter. It is known at once,
// and on disk soon.
func (s *Store) Note(group, identity string, why Reason) {
	if len(why.Cause) > maxCause {
		why.Cause = why.Cause[:maxCause]
	}
	one := numbered{hashOf(group, identity), why}
	s.mu.Lock()
	number := s.reasons.last + 1
	gone := s.reasons.put(number, one, MaxReasons)
	s.mu.Unlock()
	o := &op{sets: []pair{{reasonKey(number), one.encode()}}}
	for _, n := range gone {
		o.drops = append(o.drops, reasonKey(n))
	}
	s.queue.Post(o, o.size())
}

// Reason returns why a message of a group became a dead letter; not ok: it is not
// known here.
func (s *Store) Reason(group, identity string) (why Reason, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	number, ok := s.reasons.of[hashOf(group, identity)]
	return s.reasons.all[number].Reason, ok
}
