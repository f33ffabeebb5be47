package local

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/keyring"
)

// record is the mark of one key.
type record struct {
	held     bool
	run      uint64        // the opening of the store that began it
	token    uint64        // of the last Begin
	until    time.Duration // end of the lease, on the store's clock
	attempts uint32        // of effect
	effect   dedupe.Fingerprint
	done     []dedupe.Fingerprint // latest last
	dated    bool                 // the window is shorter than that of the store's buckets, and …
	at       time.Duration        // … began then, on the store's clock
}

const (
	recordVersion = 1
	datedVersion  = 2 // with the time at which it was written
	recordHead    = 1 + 1 + 8 + 8 + 8 + 4 + 16 + 1
	// maxDone bounds the fingerprints in one mark; more than one only appear when a
	// key is used for different contents. What it has no room for gets a mark of its
	// own (dedupe.Key.With).
	maxDone   = 4
	maxRecord = recordHead + maxDone*16 + 8 + 4
	maxMark   = 1 + keyring.Overhead + maxRecord
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errDamaged = errors.New("dedupe mark is damaged")
)

// encode: version, held, run, token, until in ms, attempts, effect, count of
// done, done…, at in ms where it is dated, CRC32C of all before; numbers are big
// endian.
func (r *record) encode() []byte { return r.append(make([]byte, 0, maxRecord)) }

func (r *record) append(b []byte) []byte {
	n := len(b)
	b = append(b, recordVersion+bit(r.dated), bit(r.held))
	b = binary.BigEndian.AppendUint64(b, r.run)
	b = binary.BigEndian.AppendUint64(b, r.token)
	b = binary.BigEndian.AppendUint64(b, uint64(r.until.Milliseconds()))
	b = binary.BigEndian.AppendUint32(b, r.attempts)
	b = append(b, r.effect[:]...)
	b = append(b, byte(len(r.done)))
	for _, f := range r.done {
		b = append(b, f[:]...)
	}
	if r.dated {
		b = binary.BigEndian.AppendUint64(b, uint64(r.at.Milliseconds()))
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[n:], castagnoli))
}

func decode(b []byte) (record, error) {
	n := len(b) - 4
	if n < recordHead || b[0] != recordVersion && b[0] != datedVersion || b[1] > 1 || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return record{}, errDamaged
	}
	r := record{
		held:     b[1] == 1,
		run:      binary.BigEndian.Uint64(b[2:]),
		token:    binary.BigEndian.Uint64(b[10:]),
		until:    time.Duration(binary.BigEndian.Uint64(b[18:])) * time.Millisecond,
		attempts: binary.BigEndian.Uint32(b[26:]),
		effect:   dedupe.Fingerprint(b[30:46]),
		dated:    b[0] == datedVersion,
	}
	rest := b[recordHead:n]
	if r.dated {
		if len(rest) < 8 {
			return record{}, errDamaged
		}
		end := len(rest) - 8
		r.at, rest = time.Duration(binary.BigEndian.Uint64(rest[end:]))*time.Millisecond, rest[:end]
	}
	if len(rest) != int(b[46])*16 {
		return record{}, errDamaged
	}
	for f := range slices.Chunk(rest, 16) {
		r.done = append(r.done, dedupe.Fingerprint(f))
	}
	return r, nil
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// date notes when the window began, where buckets do not tell it well enough: in
// whole ms, not before now.
func (r *record) date(now time.Duration, dated bool) {
	r.dated, r.at = dated, 0
	if dated {
		r.at = (now + time.Millisecond - 1).Truncate(time.Millisecond)
	}
}

// over reports whether a window has passed.
func (r *record) over(now, window time.Duration) bool { return r.dated && r.at+window <= now }

// doneMark is the mark of a content by itself.
func doneMark(f dedupe.Fingerprint) record {
	return record{effect: f, done: []dedupe.Fingerprint{f}}
}

// full reports whether contents of the key may have marks of their own.
func (r *record) full() bool { return len(r.done) >= maxDone }

func (r *record) isDone(f dedupe.Fingerprint) bool { return slices.Contains(r.done, f) }

// leased reports whether a delivery of this opening holds the key.
func (r *record) leased(now time.Duration, run uint64) bool {
	return r.held && r.run == run && now < r.until
}

// begin decides on a Begin with fingerprint f and changes r if it begins.
func (r *record) begin(f dedupe.Fingerprint, now, lease time.Duration, run, token uint64) (dedupe.Verdict, bool) {
	conflict := len(r.done) > 0 && !r.isDone(f)
	switch {
	case r.isDone(f):
		return dedupe.Repeat, false
	case r.leased(now, run):
		return dedupe.InProgress, conflict
	}
	if r.effect != f {
		r.effect, r.attempts = f, 0
	}
	r.attempts++
	r.held, r.run, r.token, r.until = true, run, token, now+lease
	return dedupe.Begun, conflict
}

// finish marks the fingerprint that was begun as done. It returns those that the
// mark has no more room for.
func (r *record) finish() (apart []dedupe.Fingerprint) {
	if r.isDone(r.effect) {
		return nil
	}
	r.done = append(slices.Clip(r.done), r.effect)
	n := max(0, len(r.done)-maxDone)
	apart, r.done = r.done[:n], r.done[n:]
	r.held, r.attempts = false, 0
	return apart
}

// free ends the hold. A second call, after an answer that got lost, changes
// nothing.
func (r *record) free(counts bool) {
	if r.held && !counts && r.attempts > 0 {
		r.attempts--
	}
	r.held = false
}

func (r *record) forget() { r.held, r.attempts = false, 0 }
