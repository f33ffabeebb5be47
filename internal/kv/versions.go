package kv

import (
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// versions hands out the versions of commits and readers.
//
// Consecutive commits take the same version as long as nobody needs to tell them
// apart: in a memtable an entry of the same key and version takes the place of
// the one before, so what is written and soon deleted, as a message that is
// confirmed in time, is never written to a table (docs/adr/0037). A commit begins
// a new version, which is its number, if
//
//   - a [Reader] holds the current one, or
//   - Badger may write it into another log than the commit before.
//
// So the entries of a version are in one log, or in what became of it, and a log
// begins with a version of its own.
type versions struct {
	badger *badger.DB

	// Of the committer.
	room int64 // what a memtable takes before Badger begins the next one
	used int64 // of it, at most

	mu      sync.Mutex
	current uint64 // of the newest commits
	held    bool   // a reader has begun at current
	readers []readersAt
}

// readersAt are the readers that hold a version.
type readersAt struct {
	version uint64
	count   int
}

// emptyMemTable is more than Badger counts of a memtable without entries: the
// first node of the skip list (skl/skl.go, NewSkiplist), the log's header.
const emptyMemTable = 256

// newVersions is for a database that has just been opened: Badger has begun a log
// (db.go, Open), and the first commit begins a version.
func newVersions(b *badger.DB, memTable int64) *versions {
	v := &versions{badger: b, room: memTable, used: emptyMemTable, current: b.MaxVersion(), held: true}
	b.SetDiscardTs(v.current)
	return v
}

// next returns the version of the commit of that number. Only the committer calls
// it, while the gate keeps readers out.
func (v *versions) next(number uint64, tx *Tx) uint64 {
	fits := v.used < v.room // Badger looks before it writes (db.go, ensureRoomForWrite)
	v.used += tx.memory()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !fits || v.held {
		v.current, v.held = number, false
		v.discard()
	}
	return v.current
}

// rotated says that the last commit, tx, is the first of its log.
func (v *versions) rotated(tx *Tx) { v.used = emptyMemTable + tx.memory() }

// begin returns the version that a reader reads at. Commits after it have another.
func (v *versions) begin() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held = true
	if n := len(v.readers); n == 0 || v.readers[n-1].version != v.current {
		v.readers = append(v.readers, readersAt{version: v.current})
	}
	v.readers[len(v.readers)-1].count++
	return v.current
}

// end is called once for each begin.
func (v *versions) end(version uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for n := range v.readers {
		if v.readers[n].version == version {
			v.readers[n].count--
		}
	}
	gone := 0
	for gone < len(v.readers) && v.readers[gone].count == 0 {
		gone++
	}
	if gone > 0 {
		v.readers = append(v.readers[:0], v.readers[gone:]...)
		v.discard()
	}
}

// discard lets compactions drop what the oldest reader does not see. v.mu is held.
func (v *versions) discard() {
	oldest := v.current
	if len(v.readers) > 0 {
		oldest = v.readers[0].version
	}
	v.badger.SetDiscardTs(oldest)
}
