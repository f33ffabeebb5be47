package kv

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math"
)

// logScan says what a log holds.
//
// The committer writes one transaction at a time and begins the next when the
// last is synced, so a log is whole transactions, then at most one that was
// being written, then zeros. A power loss leaves any part of that one. Damage
// to an acknowledged transaction is therefore proven by what follows it: the
// end of a commit whose number is at least last + 2. The end of last + 1
// proves nothing, it may be that of the torn transaction, whose early pages
// were lost and whose last page was not.
type logScan struct {
	size    int64
	first   uint64 // number of the first transaction, if whole; 0: none is
	last    uint64 // of the last one of those that are whole and consecutive
	version uint64 // which that one has
	end     int64  // where that one ends
	blank   bool   // only zeros after it
	proof   uint64 // number of the last commit whose end was found after it; 0: none
	at      int64  // where the first such end begins
	key     bool   // the header names an encryption key, which no log of ours has
}

// span bounds the numbers of commits: those after the last one known and up to
// what the logs have room for.
type span struct{ last, most uint64 }

// minTransaction is the least that a commit takes in a log: an entry, the
// seal, the end.
const minTransaction = 90

// scanLog reads a log from its start. It takes time linear in its size,
// whatever it holds. s nil: seals are believed.
func scanLog(data []byte, within span, s *seals) logScan {
	r := logScan{size: int64(len(data)), end: min(walHeader, int64(len(data)))}
	r.key = !zero(data[:min(8, len(data))])
	r.readWhole(data)
	rest := data[r.end:]
	if r.blank = zero(rest); r.blank {
		return r
	}
	within.last = max(within.last, r.last)
	for end := range ends(rest, within, s) {
		if r.proof == 0 {
			r.at = r.end + int64(end.at)
		}
		r.proof = max(r.proof, end.number)
	}
	return r
}

// readWhole follows the whole transactions, as Badger's replay does, as long
// as their numbers are consecutive.
func (r *logScan) readWhole(data []byte) {
	for {
		t, ok := readTransaction(data[r.end:])
		if !ok || r.last != 0 && t.number != r.last+1 {
			return
		}
		if r.first == 0 {
			r.first = t.number
		}
		r.last, r.version = t.number, t.version
		r.end += int64(t.size)
	}
}

// place is where an entry of a commit was found.
type place struct {
	number, version uint64
	at              int // where it begins
	size            int
}

// ends finds the ends of sealed transactions within the span, in the order in
// which they stand in b. The seal stands before the end, and before the seal of
// the next commit. Of a commit whose end is broken that of a later one, of the
// same version, proves as much.
func ends(b []byte, within span, s *seals) iter.Seq[place] {
	return func(yield func(place) bool) {
		sealed := map[uint64][]place{} // by version, in order
		for seal := range sealsIn(b, within, s) {
			sealed[seal.version] = append(sealed[seal.version], seal)
		}
		for at := range shaped(b, endKey, bitFinTxn, 1, maxDigits) {
			version := versionAt(b[at:], endKey)
			before := sealed[version]
			if len(before) == 0 || before[0].at > at {
				continue
			}
			e, ok := readEntry(b[at:])
			if !ok || !isEnd(e) {
				continue
			}
			n := 1
			for n < len(before) && before[n].at < at {
				n++
			}
			sealed[version] = before[n:]
			if !yield(place{before[n-1].number, version, at, e.size}) {
				return
			}
		}
	}
}

// sealsIn finds the seals of commits within the span.
func sealsIn(b []byte, within span, s *seals) iter.Seq[place] {
	return func(yield func(place) bool) {
		for at := range shaped(b, sealKey, bitTxn, proofSize, sealSize) {
			e, ok := readEntry(b[at:])
			if !ok {
				continue
			}
			number, _, _ := readSeal(e.value, e.version)
			if number <= within.last || number > within.most || !s.proves(e) {
				continue
			}
			if !yield(place{number, e.version, at, e.size}) {
				return
			}
		}
	}
}

// shaped finds where entries of that key, meta and size of value could begin,
// by the key and the exact header before it. Their checksums cost at most
// maxDigits bytes more, so that a log full of them takes linear time.
func shaped(b, key []byte, meta byte, least, most int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for from := 0; ; {
			i := bytes.Index(b[from:], key)
			if i < 0 {
				return
			}
			at := from + i - shapedHeader
			from += i + 1
			if at < 0 || len(b) < at+shapedHeader+len(key)+versionSize {
				continue
			}
			h := b[at : at+shapedHeader]
			fits := h[0] == meta && h[1] == 0 && int(h[2]) == len(key)+versionSize &&
				int(h[3]) >= least && int(h[3]) <= most && h[4] == 0
			if fits && !yield(at) {
				return
			}
		}
	}
}

// shapedHeader is the header's size of an entry whose lengths are below 128.
const shapedHeader = 5

// versionAt reads the version of a shaped entry's key.
func versionAt(b, key []byte) uint64 {
	return math.MaxUint64 - binary.BigEndian.Uint64(b[shapedHeader+len(key):])
}

// zero reports whether b holds nothing.
func zero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

var zeros [64 << 10]byte
