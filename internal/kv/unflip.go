package kv

import (
	"hash/crc32"
	"math/bits"
)

// What no run covers is a few dozen bytes an entry: lengths, keys, versions. A
// single bit that flipped there can be found, as every bit changes the checksum
// in its own way. More damage looks like one bit of these by chance: once in some
// 100,000 blocks, if none of it lies within a run; in a run it would show. Of all
// bits of a block it would be once in 8,192, and our runs' checksums, of the same
// polynomial, would not show it: bits in runs are never put right.

// unflip puts the bit right that makes a block's checksum hold, if all runs of
// the entries that are then found hold, and the bit lies in none of them.
func (r tableReader) unflip(body []byte, sum uint32, base []byte) ([]located, bool) {
	wrong := crc32.Checksum(body, castagnoli) ^ sum
	if bits.OnesCount32(wrong) == 1 { // a bit of the checksum itself
		return r.holding(body, base, -1)
	}
	at, bit := flipped(wrong, len(body))
	if at < 0 {
		return nil, false
	}
	body[at] ^= bit
	defer func() { body[at] ^= bit }() // the entries are copies
	return r.holding(body, base, at)
}

// flipped finds the bit of n bytes whose flip changes their checksum by wrong;
// at is -1 if there is none.
func flipped(wrong uint32, n int) (at int, bit byte) {
	var change [8]uint32 // of the bits of the byte at
	for i := range change {
		change[i] = castagnoli[1<<i]
	}
	for at = n - 1; at >= 0; at-- {
		for i, x := range change {
			if x == wrong {
				return at, 1 << i
			}
			change[i] = castagnoli[byte(x)] ^ x>>8
		}
	}
	return -1, 0
}

// holding returns the entries of a block, if all can be read and all runs hold,
// unless the byte at lies in one, or in a value of which nothing is known.
func (r tableReader) holding(body, base []byte, at int) (all []located, ok bool) {
	all, ok = locate(body, base)
	for _, e := range all {
		runs := runsOf(r.owner, e.key, e.value)
		if len(runs) == 0 && !hidden(e.key) && e.at <= at && at < e.at+len(e.value) {
			return nil, false
		}
		for _, run := range runs {
			m := mend(e.value[run.From:run.To])
			if m.was != m.fits || run.From+e.at <= at && at < run.To+e.at {
				return nil, false
			}
		}
	}
	return all, ok
}

// unflipEntry puts a bit of the header or the key of a log's entry right, if one
// makes its checksum hold.
func unflipEntry(b []byte) (e walEntry, ok bool) {
	for i := range 8 * min(maxWALHead+64, len(b)) {
		b[i/8] ^= 1 << (i % 8)
		if s, shaped := readShape(b); shaped && i/8 < s.header+s.key {
			if e, ok := readEntry(b); ok {
				return e, true
			}
		}
		b[i/8] ^= 1 << (i % 8)
	}
	return e, false
}
