package spool

import (
	"bytes"
	"iter"
	"slices"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

// store is the database as the spool sees it: with a key ring, every value but
// the head is encrypted on disk and plain to whoever reads it here. All reading
// goes through it, all writing through (*commit).set.
//
// A value is a box, bound to its key, sealed with versionEncrypted; a block is
// many boxes (frame.go). Values from before there was a ring stay plain, and are
// read as they are. What cannot be decrypted is read as nothing, which is damage
// to every codec: whether a key is missing was asked before, at open. Why a read
// failed is said in this package's words (errorOf).
type store struct {
	*kv.DB
	ring *keyring.Ring // nil: nothing is encrypted
}

// versionEncrypted stands where FormatVersion does in a plain value, three bits
// away from it.
const versionEncrypted = 0xe0 | FormatVersion

// Get returns the plain value.
func (d *store) Get(key []byte) ([]byte, error) {
	v, err := d.DB.Get(key)
	return d.decrypt(key, v), errorOf(err)
}

// Scan passes plain values.
func (d *store) Scan(s kv.Scan, fn func(key, value []byte) (more bool, err error)) error {
	return d.Snapshot(func(r kv.Reader) error { return r.Scan(s, fn) })
}

// Snapshot passes a reader of plain values.
func (d *store) Snapshot(fn func(r kv.Reader) error) error {
	return errorOf(d.DB.Snapshot(func(r kv.Reader) error { return fn(&plainReader{d, r}) }))
}

// pairs yields what a scan finds, read some at a time: nothing of the database is held
// while the loop works, which may commit, and the whole need not fit into memory.
func (d *store) pairs(scan kv.Scan) iter.Seq2[pair, error] {
	return func(yield func(pair, error) bool) {
		for more := true; more; {
			some, next, err := d.somePairs(scan)
			for _, p := range some {
				if !yield(p, nil) {
					return
				}
			}
			if err != nil {
				yield(pair{}, err)
				return
			}
			scan.From, more = next, next != nil
		}
	}
}

// somePairs reads as many as fit into memory with ease. next is where to go on, nil at
// the end.
func (d *store) somePairs(scan kv.Scan) (some []pair, next []byte, err error) {
	const most = 256 << 10
	size := 0
	err = d.Scan(scan, func(k, v []byte) (bool, error) {
		if size >= most {
			next = slices.Clone(k)
			return false, nil
		}
		some = append(some, pair{slices.Clone(k), slices.Clone(v)})
		size += len(k) + len(v)
		return true, nil
	})
	return some, next, err
}

type plainReader struct {
	d *store
	r kv.Reader
}

func (r *plainReader) Get(key []byte) ([]byte, error) {
	v, err := r.r.Get(key)
	return r.d.decrypt(key, v), errorOf(err)
}

func (r *plainReader) Scan(s kv.Scan, fn func(key, value []byte) (more bool, err error)) error {
	return errorOf(r.r.Scan(s, func(k, v []byte) (bool, error) { return fn(k, r.d.decrypt(k, v)) }))
}

// encrypted reports whether the value of key is, when there is a ring.
func encrypted(key []byte) bool { return !bytes.Equal(key, headKey) }

func isBlock(key []byte) bool { return bytes.HasPrefix(key, blockPrefix) }

// encrypt returns what is written for a plain value. room makes space for it.
func (d *store) encrypt(key, value []byte, room func(size int) []byte) []byte {
	switch {
	case d.ring == nil || !encrypted(key):
		return value
	case isBlock(key):
		return encryptBlock(d.ring, room(len(value)+recordOverhead*blockCount(value)), key, value)
	}
	return sealAs(d.ring.Encrypt(room(len(value)+valueOverhead), value, key), versionEncrypted)
}

// valueOverhead is what encryption adds to a value.
const valueOverhead = keyring.Overhead + trailer

// written is how many bytes a pair has on disk that is neither head nor block.
func (d *store) written(p pair) int {
	n := len(p.key) + len(p.value)
	if d.ring != nil {
		n += valueOverhead
	}
	return n
}

// decrypt undoes encrypt. A plain value, and a nil one, is returned as it is.
func (d *store) decrypt(key, v []byte) []byte {
	switch {
	case d.ring == nil || v == nil || !encrypted(key):
		return v
	case isBlock(key):
		return decryptBlock(d.ring, key, v)
	}
	box, version, ok := unsealAny(v)
	if !ok || version != versionEncrypted {
		return v
	}
	plain, err := d.ring.Decrypt(box, key)
	if err != nil {
		return nil
	}
	return plain
}

// keyOf is the key under which a value was encrypted: zero, if it is plain; ok
// is false, if it is damaged or none of ours.
func keyOf(key, v []byte) (id keyring.ID, ok bool) {
	if isBlock(key) {
		return blockKeyID(v)
	}
	box, version, ok := unsealAny(v)
	if !ok || version != versionEncrypted {
		return id, ok && version == FormatVersion
	}
	return keyring.IDOf(box)
}
