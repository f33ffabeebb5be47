package keyring

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
)

// ID names a key: four bytes derived from it. The zero ID is no key.
type ID [4]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Compare orders IDs by their bytes.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// ErrForged reports a box whose bytes, or whose place, are not those that were
// encrypted.
var ErrForged = errors.New("the bytes or their place are not what was encrypted")

// MissingError names the key that a box needs and the ring does not have.
type MissingError struct{ ID ID }

func (e *MissingError) Error() string {
	return fmt.Sprintf("key %s is needed to decrypt what is stored: set spool.encryption_key_file to a file that has it, "+
		"behind the current key if that is another; nothing was changed", e.ID)
}

// Ring holds keys: the first one encrypts, all decrypt. A nil Ring has none.
type Ring struct {
	keys    []*key // the first one is current
	session atomic.Pointer[session]
}

// Current is the key that encrypts; zero for a nil Ring.
func (r *Ring) Current() ID {
	if r == nil {
		return ID{}
	}
	return r.keys[0].id
}

// IDs are all keys, the current one first.
func (r *Ring) IDs() (all []ID) {
	if r == nil {
		return nil
	}
	for _, k := range r.keys {
		all = append(all, k.id)
	}
	return all
}

func (r *Ring) find(id ID) *key {
	if r == nil {
		return nil
	}
	for _, k := range r.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// Overhead is how many bytes a box is longer than what is in it.
const Overhead = len(ID{}) + nonceSize + tagSize

// Encrypt appends the box of plain to dst. place is bound to it and is not in it:
// what decrypts has to know where the box lay. plain and dst must not overlap.
func (r *Ring) Encrypt(dst, plain, place []byte) []byte {
	return r.current().encrypt(dst, plain, place)
}

// Decrypt returns what is in the box. Errors: a *MissingError, ErrForged.
func (r *Ring) Decrypt(box, place []byte) ([]byte, error) {
	id, ok := IDOf(box)
	if !ok {
		return nil, ErrForged
	}
	k := r.find(id)
	if k == nil {
		return nil, &MissingError{id}
	}
	return k.decrypt(box[len(id):], place)
}

// IDOf is the key that a box names; ok is false when it is too short for a box.
func IDOf(box []byte) (id ID, ok bool) {
	if len(box) < Overhead {
		return ID{}, false
	}
	return ID(box[:len(id)]), true
}
