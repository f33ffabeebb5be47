package kv

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/skl"
)

// Tx is the transaction of one group commit. It is only valid inside
// [Participant.Write], on the committer's goroutine.
type Tx struct {
	txn    *badger.Txn
	inline int64 // values must be smaller than this
	bytes  int
	count  int   // of Set and Delete
	err    error // the first refused Set or Delete: fences the database
}

// Get returns a copy of the value, or ErrNotFound. It sees what this
// transaction wrote.
func (tx *Tx) Get(key []byte) ([]byte, error) { return get(tx.txn, key) }

// Set writes a pair. It keeps both slices until the commit is done: the caller
// must not change them. A value of [DB.MaxValue] bytes or more, or more than
// was declared by the operations' sizes, is a defect of the caller and fences
// the database.
func (tx *Tx) Set(key, value []byte) {
	if int64(len(value)) >= tx.inline {
		tx.fail(fmt.Errorf("set a value of %d bytes: the largest is %d", len(value), tx.inline-1))
		return
	}
	tx.bytes += len(key) + len(value)
	tx.count++
	tx.fail(tx.txn.Set(key, value))
}

// Delete removes a key, which need not exist. It keeps the slice as Set does.
func (tx *Tx) Delete(key []byte) {
	tx.bytes += len(key)
	tx.count++
	tx.fail(tx.txn.Delete(key))
}

// logged is the most that the transaction takes in the log.
func (tx *Tx) logged() int64 { return int64(tx.bytes + (tx.count+1)*walEntryOverhead + walEndOverhead) }

// memory is the most that the transaction takes of what Badger bounds a memtable
// by: the arena of its skip list, and the log (memtable.go, isFull).
func (tx *Tx) memory() int64 {
	const (
		node  = skl.MaxNodeSize + 8 + versionSize // a node of the greatest height, aligned, and the version (skl/arena.go, putNode)
		value = 2 + 10                            // y.ValueStruct, EncodedSize: meta, user meta, expiry
	)
	return max(tx.logged(), int64(tx.bytes+(tx.count+1)*(node+value)))
}

func (tx *Tx) fail(err error) {
	if tx.err == nil && err != nil {
		tx.err = err
	}
}

func get(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	value, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("read value: %w", err)
	}
	return value, nil
}
