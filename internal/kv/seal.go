package kv

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"
)

// sealKey is written by every commit, and hidden from readers. Its value has the
// number of the commit, and proves that the commit is one of this directory's
// and no bytes in a message that look like one.
//
// Commits are numbered without gaps. A version, which Badger orders the values of
// a key by, may be that of several commits (versions.go); the newest value of
// sealKey is that of the last one, and no compaction drops it.
var sealKey = []byte("\x00commit")

const (
	proofSize = 16
	sealSize  = 8 + proofSize
)

// seals makes and checks the values of sealKey, from a secret that is in no
// log. A copy of a log in a message carries the seals of earlier commits only,
// so it cannot pass for a later one.
type seals struct{ secret [32]byte }

func newSeals() *seals {
	s := new(seals)
	_, _ = rand.Read(s.secret[:]) // never fails: crypto/rand.Read documents it
	return s
}

func (s *seals) of(number uint64) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, sealSize), number), s.proof(number)...)
}

func (s *seals) proof(number uint64) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(s.secret[:], number))
	return sum[:proofSize]
}

// readSeal reads the value of sealKey under that version. Before layout 1 it was
// the proof alone, of a commit whose number was its version.
func readSeal(value []byte, version uint64) (number uint64, proof []byte, ok bool) {
	switch len(value) {
	case sealSize:
		return binary.BigEndian.Uint64(value), value[8:], true
	case proofSize:
		return version, value, true
	}
	return 0, nil, false
}

// proves reports whether e is the seal of its commit. Without a secret, which is
// lost with its file, every seal is believed.
func (s *seals) proves(e walEntry) bool {
	number, proof, ok := readSeal(e.value, e.version)
	return ok && bytes.Equal(e.key, sealKey) && (s == nil || bytes.Equal(proof, s.proof(number)))
}

// lastCommit returns the number of the last commit: its seal has it, unless that
// is lost. Then it is at least the number with which the newest version began.
func lastCommit(b *badger.DB) (uint64, error) {
	txn := b.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	reached := b.MaxVersion()
	item, err := txn.Get(sealKey)
	if err == nil {
		err = item.Value(func(value []byte) error {
			number, _, _ := readSeal(value, item.Version())
			reached = max(reached, number)
			return nil
		})
	}
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return 0, fmt.Errorf("read the last commit: %w", err)
	}
	return reached, nil
}
