package spool

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// keyHash stands for a topic and dedupe key.
type keyHash [16]byte

func hashKey(topic, key string) keyHash {
	sum := sha256.Sum256(append(appendText(nil, topic), key...))
	return keyHash(sum[:16])
}

func shortFingerprint(f [16]byte) uint64 { return binary.BigEndian.Uint64(f[:8]) }

// keyRef is the message accepted under a key.
type keyRef struct {
	seq         uint64
	fingerprint uint64
}

type keyEntry struct {
	hash keyHash
	ref  keyRef
}

// keyIndex knows every dedupe key in the window. On disk the keys of a commit
// are one entry, in the bucket of their hour, dropped whole.
type keyIndex struct {
	refs      map[keyHash]keyRef
	hours     map[uint64]int // keys by hour of accept
	droppedTo uint64         // last hour of which keys were dropped, in this process
	part      uint64         // makes the next entry's key unique
}

// keyCost is what one key costs, in memory and on disk together, in bytes.
const keyCost = 96

func newKeyIndex() keyIndex {
	return keyIndex{refs: map[keyHash]keyRef{}, hours: map[uint64]int{}}
}

func (x *keyIndex) bytes() int64 { return int64(len(x.refs)) * keyCost }

func hourOf(t time.Time) uint64 { return uint64(max(t.Unix(), 0)) / 3600 }

// keep notes a key for the entry of this commit.
func (c *commit) keep(e keyEntry) {
	c.keys = append(c.keys, e)
	c.s.keys.refs[e.hash] = e.ref
	c.s.keys.hours[hourOf(c.now)]++
}

func (c *commit) writeKeys() {
	const perEntry = 4096
	for part := c.keys; len(part) > 0; {
		n := min(perEntry, len(part))
		c.s.keys.part++
		c.set(dedupeKey(hourOf(c.now), c.s.keys.part), encodeKeys(part[:n]))
		part = part[n:]
	}
}

func encodeKeys(keys []keyEntry) []byte {
	b := make([]byte, 0, len(keys)*32+4)
	for _, k := range keys {
		b = append(b, k.hash[:]...)
		b = binary.BigEndian.AppendUint64(b, k.ref.seq)
		b = binary.BigEndian.AppendUint64(b, k.ref.fingerprint)
	}
	return seal(b)
}

func decodeKeys(v []byte) ([]keyEntry, error) {
	b, err := unseal(v)
	if err != nil || len(b)%32 != 0 {
		return nil, fmt.Errorf("read dedupe keys: %w", errDamaged)
	}
	keys := make([]keyEntry, len(b)/32)
	for i := range keys {
		k := b[i*32:]
		copy(keys[i].hash[:], k)
		keys[i].ref = keyRef{seq: binary.BigEndian.Uint64(k[16:]), fingerprint: binary.BigEndian.Uint64(k[24:])}
	}
	return keys, nil
}

// loadKeys reads the whole window: it is bounded by its budget.
func (s *Spool) loadKeys() error {
	return s.db.Scan(kv.Scan{Prefix: keyPrefix}, func(k, v []byte) (bool, error) {
		keys, err := decodeKeys(v)
		hour := tail64(k, len(keyPrefix))
		for _, e := range keys {
			s.keys.refs[e.hash] = e.ref
		}
		s.keys.hours[hour] += len(keys)
		s.keys.part = max(s.keys.part, tail64(k, len(keyPrefix)+8))
		return true, err
	})
}
