package spool

import (
	"encoding/binary"
	"slices"
)

// tagTable says in which entries of the disk a key may stand. Of each key in each
// entry it has a tag, of its hash, and the number of the entry: 8 bytes. Another key
// has the same tag once in 2^40 times, so a new key among five million is taken for
// one that has to be looked for once in 200,000.
//
// Its segments are sorted, and grow by a quarter, each by itself: so the table is
// never copied as a whole, and a key that is added moves some hundred neighbours.
type tagTable struct {
	segments [][]uint64 // by the first bits of the hash
	count    int
}

const (
	segmentBits = 14
	tagBits     = 26
	partBits    = 38 // of the number of an entry: ten thousand of them a second, for 300 days
)

func newTagTable() tagTable { return tagTable{segments: make([][]uint64, 1<<segmentBits)} }

// slotOf is what stands for a key in an entry, and where.
func slotOf(h keyHash, part uint64) (segment int, slot uint64) {
	bits := binary.BigEndian.Uint64(h[:])
	tag := bits << segmentBits >> (64 - tagBits)
	return int(bits >> (64 - segmentBits)), tag<<partBits | part&(1<<partBits-1)
}

// lowerBound is where slot stands in a segment, or would. Tags are spread evenly, so
// it is not far from where it would be if they were exactly so.
func lowerBound(segment []uint64, slot uint64) int {
	at := int(slot >> partBits * uint64(len(segment)) >> tagBits)
	for at > 0 && segment[at-1] >= slot {
		at--
	}
	for at < len(segment) && segment[at] < slot {
		at++
	}
	return at
}

func (t *tagTable) add(h keyHash, part uint64) {
	n, slot := slotOf(h, part)
	s := t.segments[n]
	if len(s) == cap(s) {
		s = append(make([]uint64, 0, len(s)+len(s)/4+4), s...)
	}
	t.segments[n] = slices.Insert(s, lowerBound(s, slot), slot)
	t.count++
}

// remove reports whether it was there. What leaves half of a segment empty gives
// that back.
func (t *tagTable) remove(h keyHash, part uint64) bool {
	n, slot := slotOf(h, part)
	s := t.segments[n]
	at := lowerBound(s, slot)
	if at == len(s) || s[at] != slot {
		return false
	}
	s = slices.Delete(s, at, at+1)
	if len(s) < cap(s)/2 {
		s = append(make([]uint64, 0, len(s)+len(s)/4), s...)
	}
	t.segments[n] = s
	t.count--
	return true
}

// parts are the entries in which a key may stand: of those of the last 2^partBits,
// up to newest. It is nil, as a rule, of a key that is new.
func (t *tagTable) parts(h keyHash, newest uint64) (all []uint64) {
	n, slot := slotOf(h, 0)
	s := t.segments[n]
	for at := lowerBound(s, slot); at < len(s) && s[at]>>partBits == slot>>partBits; at++ {
		all = append(all, wholePart(s[at]&(1<<partBits-1), newest))
	}
	return all
}

// wholePart completes the low bits of the number of an entry, of which newest is the
// highest.
func wholePart(low, newest uint64) uint64 {
	const period = 1 << partBits
	part := newest&^(period-1) | low
	if part > newest {
		part -= period
	}
	return part
}
