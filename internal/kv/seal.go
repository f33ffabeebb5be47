package kv

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
)

// sealKey is written by every commit, and hidden from readers. Its version is
// the commit's timestamp; its value proves that the commit is one of this
// directory's and no bytes in a message that look like one.
//
// Since no compaction drops the newest version of it, the largest version in
// the database is always the last commit: what [head] is compared with.
var sealKey = []byte("\x00commit")

const sealSize = 16

// seals makes and checks the values of sealKey, from a secret that is in no
// log. A copy of a log in a message carries the seals of earlier commits only,
// so it cannot pass for a later one.
type seals struct{ secret [32]byte }

func newSeals() *seals {
	s := new(seals)
	_, _ = rand.Read(s.secret[:]) // never fails: crypto/rand.Read documents it
	return s
}

func (s *seals) of(ts uint64) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(s.secret[:], ts))
	return sum[:sealSize]
}

// proves reports whether e is the seal of its commit. Without a secret, which
// is lost with its file, every seal is believed.
func (s *seals) proves(e walEntry) bool {
	return bytes.Equal(e.key, sealKey) && (s == nil || bytes.Equal(e.value, s.of(e.ts)))
}
