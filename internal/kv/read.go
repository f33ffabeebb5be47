package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"
)

// Reader is a consistent view of the database.
type Reader interface {
	// Get returns a copy of the value, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// Scan calls fn for each pair of s in order, until fn returns false or an
	// error. The slices are only valid during fn.
	Scan(s Scan, fn func(key, value []byte) (more bool, err error)) error
}

// Scan says what to walk over: the keys that begin with Prefix, from From
// (inclusive) upwards, or with Reverse downwards. Without From it begins at the
// first key of the prefix, or with Reverse at the last. From need not exist,
// nor have the prefix. KeysOnly passes nil values.
//
// Without Whole a damaged block may end the scan, or hide a part of it, without an
// error. With it that is ErrDamaged, when fn has had the rest: for whoever concludes
// from what is not there. It costs a second reading of the blocks. With Around, too, a
// scan upwards goes on behind a damaged block, after a call of Around: then it is
// ErrDamaged only if nothing behind can be reached.
type Scan struct {
	Prefix, From             []byte
	Reverse, KeysOnly, Whole bool
	Around                   func(damage error)
}

// Get returns a copy of the value, or ErrNotFound. Commits wait for it: it keeps no
// version, so that they go on to share one.
func (db *DB) Get(key []byte) (value []byte, err error) {
	var broken error
	value, err = db.getNewest(key, func(why error) { broken = why })
	if broken != nil {
		db.Distrust(broken) // which writes: no commit shall wait for that
	}
	return value, err
}

func (db *DB) getNewest(key []byte, distrust func(error)) (value []byte, err error) {
	db.gate.RLock()
	defer db.gate.RUnlock()
	if err := db.unreadable(); err != nil {
		return nil, err
	}
	if db.readsEnded {
		return nil, ErrClosed
	}
	txn := db.badger.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	return (&reader{db: db, txn: txn, distrust: distrust}).Get(key)
}

// Scan walks over a snapshot of the database; see [Reader].
func (db *DB) Scan(s Scan, fn func(key, value []byte) (more bool, err error)) error {
	return db.Snapshot(func(r Reader) error { return r.Scan(s, fn) })
}

// Snapshot calls fn with a view that holds everything that was answered
// before, and nothing that is not durable. Close waits for fn; a fence makes
// the reader refuse.
func (db *DB) Snapshot(fn func(r Reader) error) error {
	version, err := db.beginRead()
	if err != nil {
		return err
	}
	defer db.readers.Done()
	defer db.versions.end(version)
	txn := db.badger.NewTransactionAt(version, false)
	defer txn.Discard()
	return fn(&reader{db: db, txn: txn, distrust: db.Distrust})
}

func (db *DB) beginRead() (version uint64, err error) {
	db.gate.RLock()
	defer db.gate.RUnlock()
	if err := db.unreadable(); err != nil {
		return 0, err
	}
	if db.readsEnded {
		return 0, ErrClosed
	}
	db.readers.Add(1)
	return db.versions.begin(), nil
}

func (db *DB) unreadable() error {
	if db.fenced.Load() {
		return fmt.Errorf("%w: %w", ErrFenced, db.Err())
	}
	return nil
}

type reader struct {
	db       *DB
	txn      *badger.Txn
	distrust func(error)
}

func (r *reader) Get(key []byte) (value []byte, err error) {
	if err := r.db.unreadable(); err != nil {
		return nil, err
	}
	defer r.contain(new(bool), &err)
	return get(r.txn, key)
}

// contain makes an error of the panic with which Badger meets a damaged block
// (its offsets: index out of range), unless it is the caller's own. The next
// Open then reads every block.
func (r *reader) contain(callers *bool, err *error) {
	if *callers {
		return
	}
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: badger panicked: %v", ErrDamaged, p)
		r.distrust(*err)
	}
}

func (r *reader) Scan(s Scan, fn func(key, value []byte) (more bool, err error)) (err error) {
	if err := r.db.unreadable(); err != nil {
		return err
	}
	callers := false // it runs
	defer r.contain(&callers, &err)
	guarded := func(key, value []byte) (bool, error) {
		callers = true
		more, err := fn(key, value)
		callers = false
		return more, err
	}
	opts := badger.IteratorOptions{Reverse: s.Reverse} // prefetching is a goroutine an item
	if !s.Reverse {
		opts.Prefix = s.Prefix
	}
	switch {
	case s.Whole && s.Around != nil:
		return r.scanAround(s, guarded)
	case s.Whole:
		return r.scanWhole(s, opts, guarded)
	}
	it := r.txn.NewIterator(opts)
	defer it.Close()
	return r.walk(s, it, guarded)
}

// scanWhole looks for the tables before and after the iterator takes them: one that it
// has, and that a compaction is about to replace, is looked at by that (unread.go).
func (r *reader) scanWhole(s Scan, opts badger.IteratorOptions, fn func(key, value []byte) (bool, error)) error {
	before, err := r.db.inventory.tables(r.db, nil)
	if err != nil {
		return err
	}
	it := r.txn.NewIterator(opts)
	defer it.Close()
	tables, err := r.db.inventory.tables(r.db, before)
	if err != nil {
		return err
	}
	var last []byte // nil: the scan went to its end
	err = r.walk(s, it, func(key, value []byte) (bool, error) {
		more, err := fn(key, value)
		if !more {
			last = bytes.Clone(key)
		}
		return more, err
	})
	if err != nil {
		return err
	}
	if err = r.db.checkWalked(tables, s.walked(last)); errors.Is(err, ErrDamaged) {
		r.distrust(err)
	}
	return err
}

func (r *reader) walk(s Scan, it *badger.Iterator, fn func(key, value []byte) (bool, error)) error {
	for s.seek(it); it.ValidForPrefix(s.Prefix); it.Next() {
		if err := r.db.unreadable(); err != nil {
			return err
		}
		if key := it.Item().Key(); bytes.Equal(key, sealKey) || bytes.Equal(key, fillKey) {
			continue
		}
		more, err := s.visit(it.Item(), fn)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func (s Scan) visit(item *badger.Item, fn func(key, value []byte) (bool, error)) (more bool, err error) {
	if s.KeysOnly {
		return fn(item.Key(), nil)
	}
	err = item.Value(func(value []byte) error {
		more, err = fn(item.Key(), value)
		return err
	})
	return more, err
}

// seek puts the iterator on the first key of the scan. Badger's own handling
// of a prefix in reverse would begin at the prefix itself, below all its keys.
func (s Scan) seek(it *badger.Iterator) {
	if !s.Reverse {
		if bytes.Compare(s.From, s.Prefix) < 0 {
			it.Seek(s.Prefix)
		} else {
			it.Seek(s.From)
		}
		return
	}
	end := successor(s.Prefix)
	if s.From != nil && (end == nil || bytes.Compare(s.From, end) < 0) {
		it.Seek(s.From)
		return
	}
	if end == nil {
		it.Rewind()
		return
	}
	it.Seek(end)
	if it.Valid() && bytes.Equal(it.Item().Key(), end) {
		it.Next() // end is the first key after the prefix
	}
}

// successor is the smallest key above all keys that begin with prefix; nil:
// there is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}
