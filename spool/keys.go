package spool

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/message"
)

// keyHash stands for a topic and dedupe key.
type keyHash [16]byte

func hashKey(topic, key string) keyHash {
	sum := sha256.Sum256(append(appendText(make([]byte, 0, 512), topic), key...))
	return keyHash(sum[:16])
}

func shortFingerprint(f [16]byte) uint64 { return binary.BigEndian.Uint64(f[:8]) }

// keyRef is the message accepted under a key, with what a repeat has to be told
// when the receipt is no longer kept.
type keyRef struct {
	seq         uint64
	fingerprint uint64
	id          message.ID
	acceptedAt  int64 // milliseconds since 1970
}

// receipt of a settled message of which no other is kept: its key is forgotten
// before, if it was rolled back, and refused, if it was cancelled or discarded.
func (k keyRef) receipt(topic string) message.Receipt {
	return message.Receipt{ID: k.id, Topic: topic, State: message.StateConfirmed, AcceptedAt: k.time()}
}

func (k keyRef) time() time.Time { return time.UnixMilli(k.acceptedAt) }

type keyEntry struct {
	hash keyHash
	ref  keyRef
}

// keyCost is what one key costs, in memory and on disk together, in bytes.
const keyCost = 192

func hourOf(t time.Time) uint64 { return uint64(max(t.Unix(), 0)) / 3600 }

func timeOfHour(hour uint64) time.Time { return time.Unix(int64(hour)*3600, 0).UTC() }

// keepKey notes the key of a new message, if it has one.
func (c *commit) keepKey(n *newMessage) {
	if n.key != (keyHash{}) {
		c.keep(keyEntry{n.key, keyRef{n.msg.Seq, n.fingerprint, n.msg.ID, n.msg.AcceptedAt.UnixMilli()}})
	}
}

// keep notes a key for the entry of this commit.
func (c *commit) keep(e keyEntry) {
	c.keys = append(c.keys, e)
	c.s.keys.add(e, hourOf(c.at))
}

func (c *commit) writeKeys() {
	for _, p := range c.s.keys.entriesOf(hourOf(c.at), c.keys) {
		c.set(p.key, p.value)
	}
}

// keyBytes is the length of one key in its entry.
const keyBytes = 16 + 8 + 8 + 16 + 8

func encodeKeys(keys []keyEntry) []byte {
	b := make([]byte, 0, len(keys)*keyBytes+trailer)
	for _, k := range keys {
		b = append(b, k.hash[:]...)
		b = binary.BigEndian.AppendUint64(b, k.ref.seq)
		b = binary.BigEndian.AppendUint64(b, k.ref.fingerprint)
		b = append(b, k.ref.id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(k.ref.acceptedAt))
	}
	return seal(b)
}

func decodeKeys(v []byte) ([]keyEntry, error) {
	b, err := unseal(v)
	if err == nil && len(b)%keyBytes != 0 {
		err = errDamaged
	}
	if err != nil {
		return nil, fmt.Errorf("read dedupe keys: %w", err)
	}
	keys := make([]keyEntry, 0, len(b)/keyBytes)
	for k := range slices.Chunk(b, keyBytes) {
		keys = append(keys, keyEntry{keyHash(k[:16]), keyRef{
			seq: binary.BigEndian.Uint64(k[16:]), fingerprint: binary.BigEndian.Uint64(k[24:]),
			id: message.ID(k[32:48]), acceptedAt: int64(binary.BigEndian.Uint64(k[48:])),
		}})
	}
	return keys, nil
}

// loadKeys reads the whole window: it is bounded by its budget.
func (s *Spool) loadKeys() error {
	return s.scanAll(keyPrefix, func(k, v []byte) error {
		keys, err := decodeKeys(v)
		for _, e := range keys {
			s.keys.add(e, tail64(k, len(keyPrefix)))
		}
		s.keys.part = max(s.keys.part, tail64(k, len(keyPrefix)+8))
		return err
	})
}
