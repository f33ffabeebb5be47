package spool

import (
	"encoding/binary"
	"iter"
	"slices"
	"sync"
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
	room     int // that a segment gets at first
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
	s := t.withRoom(n)
	t.segments[n] = slices.Insert(s, lowerBound(s, slot), slot)
	t.count++
}

// withRoom is a segment that has room for one more.
func (t *tagTable) withRoom(n int) []uint64 {
	s := t.segments[n]
	if len(s) < cap(s) {
		return s
	}
	return append(slices.Grow([]uint64(nil), max(len(s)+len(s)/4+4, t.room)), s...)
}

// mostExpected is for how many keys there is room before they have come: some 45 MB.
const mostExpected = 5_000_000

// expect says how many keys may be about to come, so that few segments have to grow.
func (t *tagTable) expect(keys int) {
	each := min(keys, mostExpected) >> segmentBits
	t.room = each + each/8
}

// collect is add without order: sort has to follow, before anything else is asked.
func (t *tagTable) collect(h keyHash, part uint64) {
	n, slot := slotOf(h, part)
	t.segments[n] = append(t.withRoom(n), slot)
	t.count++
}

// sharedTag is a tag that has met another like it.
type sharedTag struct {
	tag uint64 // of the hash, with the bits of the segment
	low uint64 // of the number of the entry
}

// tagOf is the tag of a hash, with the bits of the segment.
func tagOf(h keyHash) uint64 {
	return binary.BigEndian.Uint64(h[:]) >> (64 - segmentBits - tagBits)
}

// sort puts in order what was collected, and returns, by segment, how many of its tags
// are there more than once.
func (t *tagTable) sort() []int {
	t.room = 0
	const workers = 2
	shared := make([]int, len(t.segments))
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			var spread spreader
			for n := w; n < len(t.segments); n += workers {
				spread.sort(t.segments[n])
				for range t.sharedIn(n) {
					shared[n]++
				}
				if s := t.segments[n]; len(s) < cap(s)/2 {
					t.segments[n] = slices.Clone(s)
				}
			}
		})
	}
	running.Wait()
	return shared
}

// sharedIn yields the tags of a segment that are there more than once.
func (t *tagTable) sharedIn(n int) iter.Seq[sharedTag] {
	return func(yield func(sharedTag) bool) {
		s := t.segments[n]
		for i, slot := range s {
			tag := slot >> partBits
			more := i > 0 && s[i-1]>>partBits == tag || i+1 < len(s) && s[i+1]>>partBits == tag
			if more && !yield(sharedTag{uint64(n)<<tagBits | tag, slot & (1<<partBits - 1)}) {
				return
			}
		}
	}
}

// shares reports whether the tag of a hash is there more than once.
func (t *tagTable) shares(h keyHash) bool {
	n, slot := slotOf(h, 0)
	s := t.segments[n]
	at := lowerBound(s, slot)
	return at+1 < len(s) && s[at]>>partBits == slot>>partBits && s[at+1]>>partBits == slot>>partBits
}

// spreader sorts slots whose tags are spread evenly: by their first bits, and then the
// few that share these.
type spreader struct {
	slots []uint64
	ends  [1 << 8]int
}

// few are sorted sooner than they are spread. All segments of a small spool have fewer,
// or nothing.
const few = 64

func (d *spreader) sort(s []uint64) {
	const shift = 64 - 8
	if len(s) < few {
		slices.Sort(s)
		return
	}
	clear(d.ends[:])
	for _, slot := range s {
		d.ends[slot>>shift]++
	}
	sum := 0
	for i, n := range d.ends {
		d.ends[i] = sum
		sum += n
	}
	d.slots = append(d.slots[:0], s...)
	for _, slot := range d.slots {
		at := &d.ends[slot>>shift]
		s[*at] = slot
		*at++
	}
	from := 0
	for _, to := range d.ends {
		slices.Sort(s[from:to])
		from = to
	}
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
