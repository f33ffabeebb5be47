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

// keyCost is what one key costs, in memory and on disk together, in bytes: of a key that is
// the only one of its commit, some 107 on disk, and 10 in memory. Of many it is less.
const keyCost = 120

func hourOf(t time.Time) uint64 { return uint64(max(t.Unix(), 0)) / 3600 }

func timeOfHour(hour uint64) time.Time { return time.Unix(int64(hour)*3600, 0).UTC() }

// keepKey notes the key of a new message, if it has one.
func (c *commit) keepKey(n *newMessage) {
	if n.key == (keyHash{}) {
		return
	}
	if n.moved != nil {
		c.s.keys.leave(n.moved.Seq)
	}
	c.keep(keyEntry{n.key, keyRef{n.msg.Seq, n.fingerprint, n.msg.ID, n.msg.AcceptedAt.UnixMilli()}}, hourOf(c.at))
}

// keyRun are keys of a commit that go into one entry: those up to an index.
type keyRun struct {
	hour, part uint64
	to         int
}

// keep notes a key for an entry of this commit: the last one, if there is one of that
// hour, and room in it.
func (c *commit) keep(e keyEntry, hour uint64) {
	const perEntry = 1024
	n := len(c.keyRuns)
	from := 0
	if n > 1 {
		from = c.keyRuns[n-2].to
	}
	if n == 0 || c.keyRuns[n-1].hour != hour || len(c.keys)-from == perEntry {
		c.s.keys.part++
		c.keyRuns = append(c.keyRuns, keyRun{hour: hour, part: c.s.keys.part})
		n++
	}
	c.keys = append(c.keys, e)
	c.keyRuns[n-1].to = len(c.keys)
	c.s.keys.add(e, hour, c.keyRuns[n-1].part)
}

func (c *commit) writeKeys() {
	from := 0
	for _, r := range c.keyRuns {
		c.set(dedupeKey(r.hour, r.part), encodeKeys(c.keys[from:r.to]))
		from = r.to
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

func decodeKeys(v []byte) (keys []keyEntry, err error) {
	keys = make([]keyEntry, 0, len(v)/keyBytes)
	err = eachKeyIn(v, func(e keyEntry) { keys = append(keys, e) })
	return keys, err
}

// eachKeyIn calls fn with each key of an entry that can be read.
func eachKeyIn(v []byte, fn func(keyEntry)) error {
	b, err := keysIn(v)
	if err != nil {
		return err
	}
	for k := range slices.Chunk(b, keyBytes) {
		fn(keyEntry{keyHash(k[:16]), keyRef{
			seq: seqOfKey(k), fingerprint: binary.BigEndian.Uint64(k[24:]),
			id: message.ID(k[32:48]), acceptedAt: int64(binary.BigEndian.Uint64(k[48:])),
		}})
	}
	return nil
}

// keysIn are the keys of an entry, of keyBytes each.
func keysIn(v []byte) ([]byte, error) {
	b, err := unseal(v)
	if err == nil && len(b)%keyBytes != 0 {
		err = errDamaged
	}
	if err != nil {
		return nil, fmt.Errorf("read dedupe keys: %w", err)
	}
	return b, nil
}

func seqOfKey(key []byte) uint64 { return binary.BigEndian.Uint64(key[16:]) }
