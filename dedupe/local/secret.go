package local

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

// secretKey is the entry of the store's secret.
var secretKey = []byte(prefix + "k")

// secret makes hashes that nobody else can compute. It is drawn once, so that
// marks are found whatever the current key of the ring is, and lies encrypted:
//
//	version 1 byte
//	count   1 byte: of these
//	keys    IDs of the ring's keys under which something may lie, the secret's first
//	box     hash key, 32 bytes; began, in ms, big endian
//	crc     CRC32C of all before, big endian
type secret struct {
	hashKey [32]byte
	began   time.Duration // marks in buckets up to here may have plain hashes
	keys    []keyring.ID
}

const secretBytes = len(secret{}.hashKey) + 8

// maxSecret bounds the entry, its key included.
const maxSecret = len(prefix) + 1 + 2 + 20*len(keyring.ID{}) + secretBytes + keyring.Overhead + 4

func newSecret(ring *keyring.Ring, began time.Duration) *secret {
	s := &secret{began: began, keys: []keyring.ID{ring.Current()}}
	_, _ = rand.Read(s.hashKey[:]) // never fails: crypto/rand.Read documents it
	return s
}

func (s *secret) encode(ring *keyring.Ring) []byte {
	b := append(make([]byte, 0, maxSecret), recordVersion, byte(len(s.keys)))
	for _, id := range s.keys {
		b = append(b, id[:]...)
	}
	plain := binary.BigEndian.AppendUint64(slices.Clone(s.hashKey[:]), uint64(s.began.Milliseconds()))
	b = ring.Encrypt(b, plain, secretKey)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeSecret returns errDamaged, or which key is missing.
func decodeSecret(b []byte, ring *keyring.Ring) (*secret, error) {
	n := len(b) - 4
	if n < 2 || b[0] != recordVersion || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil, errDamaged
	}
	s := &secret{}
	rest := b[2:n]
	for range b[1] {
		if len(rest) < len(keyring.ID{}) {
			return nil, errDamaged
		}
		s.keys, rest = append(s.keys, keyring.ID(rest[:4])), rest[4:]
	}
	plain, err := ring.Decrypt(rest, secretKey)
	if errors.Is(err, keyring.ErrForged) || err == nil && len(plain) != secretBytes {
		return nil, errDamaged
	}
	if err != nil {
		return nil, err
	}
	s.began = time.Duration(binary.BigEndian.Uint64(plain[copy(s.hashKey[:], plain):])) * time.Millisecond
	return s, nil
}

// loadSecret reads the secret, or draws one when there is a ring and none yet.
// Damage of it costs the marks: handlers may be called again, and nothing is
// suppressed.
func (s *Store) loadSecret() error {
	b, err := s.db.Get(secretKey)
	if err == nil {
		s.secret, err = decodeSecret(b, s.o.Keys)
	}
	switch {
	case err == nil:
		return s.findKeys()
	case errors.Is(err, errDamaged):
		s.damaged.Add(1)
	case !errors.Is(err, kv.ErrNotFound):
		return err
	}
	if s.o.Keys != nil {
		s.secret, s.secretChanged = newSecret(s.o.Keys, s.buckets.newest()), true
	}
	return nil
}

// findKeys refuses a ring that lacks a key of some mark, and counts what lies under others
// than the current one.
func (s *Store) findKeys() error {
	current := s.o.Keys.Current()
	if !slices.ContainsFunc(s.secret.keys, func(id keyring.ID) bool { return id != current }) {
		return nil
	}
	found := map[keyring.ID]int{}
	err := s.db.Scan(kv.Scan{Prefix: []byte(bucketPrefix), Whole: true}, func(_, v []byte) (bool, error) {
		if id, ok := keyOf(v); ok && id != current && slices.Contains(s.secret.keys, id) {
			found[id]++
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("look for the keys in use: %w", err)
	}
	older := slices.SortedFunc(maps.Keys(found), keyring.ID.Compare)
	for _, id := range older {
		if !slices.Contains(s.o.Keys.IDs(), id) {
			return &keyring.MissingError{ID: id}
		}
	}
	if its := s.secret.keys[0]; its != current {
		found[its]++ // until something else is written
	}
	s.older = found
	s.secret.keys, s.secretChanged = append([]keyring.ID{current}, older...), true
	return nil
}

// OlderKeys are the keys, beside the current one, under which marks, or the secret of their
// hashes, lay when the store was opened, and how many. Without them it is not opened.
func (s *Store) OlderKeys() map[keyring.ID]int { return maps.Clone(s.older) }

// hashes of a key: the one under which marks are written, and the plain one
// under which they were before there was a secret.
func (s *Store) hashes(k dedupe.Key) (written, plain hash) {
	plain = hash(k.Hash())
	if s.secret == nil {
		return plain, plain
	}
	mac := hmac.New(sha256.New, s.secret.hashKey[:])
	mac.Write(k.Path())
	return hash(mac.Sum(nil)[:len(hash{})]), plain
}

// encrypted is the first byte of an encrypted mark, three bits away from
// recordVersion; its box follows.
const encrypted = 0xe0 | recordVersion

func (s *Store) encrypt(key, mark []byte) []byte {
	if s.o.Keys == nil {
		return mark
	}
	return s.o.Keys.Encrypt(append(make([]byte, 0, maxMark), encrypted), mark, key)
}

// decrypt returns nothing, which is damage, for what cannot be decrypted.
func (s *Store) decrypt(key, v []byte) []byte {
	if s.o.Keys == nil || len(v) == 0 || v[0] != encrypted {
		return v
	}
	mark, err := s.o.Keys.Decrypt(v[1:], key)
	if err != nil {
		return nil
	}
	return mark
}

// keyOf is the key of an encrypted mark.
func keyOf(v []byte) (id keyring.ID, ok bool) {
	if len(v) == 0 || v[0] != encrypted {
		return id, false
	}
	return keyring.IDOf(v[1:])
}
