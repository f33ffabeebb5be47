package spool

import "math/bits"

// bitmapShift: one bitmap covers 4,096 sequences.
const bitmapShift = 12

// bitmap says which sequences of a range are settled.
type bitmap struct {
	words [1 << bitmapShift / 64]uint64
	count int // of set bits
}

// set is idempotent, so that it never writes to a full bitmap.
func (b *bitmap) set(seq uint64) (isNew bool) {
	w, bit := bitOf(seq)
	if isNew = b.words[w]&bit == 0; isNew {
		b.words[w] |= bit
		b.count++
	}
	return isNew
}

// clear is not for a full one, which is shared.
func (b *bitmap) clear(seq uint64) {
	w, bit := bitOf(seq)
	if b.words[w]&bit != 0 {
		b.words[w] &^= bit
		b.count--
	}
}

func (b *bitmap) has(seq uint64) bool {
	w, bit := bitOf(seq)
	return b.words[w]&bit != 0
}

func (b *bitmap) full() bool { return b.count == 1<<bitmapShift }

func bitOf(seq uint64) (word int, bit uint64) {
	i := seq & (1<<bitmapShift - 1)
	return int(i / 64), 1 << (i % 64)
}

// fullBitmap stands for every bitmap that is full: above one message that is
// never settled there may be very many. Nobody writes to it.
var fullBitmap = func() *bitmap {
	b := &bitmap{count: 1 << bitmapShift}
	for i := range b.words {
		b.words[i] = ^uint64(0)
	}
	return b
}()

// encode writes a full bitmap as nothing.
func (b *bitmap) encode() []byte {
	if b.full() {
		return seal(nil)
	}
	out := make([]byte, 0, len(b.words)*8+trailer)
	for _, w := range b.words {
		for s := 0; s < 64; s += 8 {
			out = append(out, byte(w>>s))
		}
	}
	return seal(out)
}

func decodeBitmap(v []byte) (*bitmap, error) {
	v, err := unseal(v)
	if err != nil {
		return nil, err
	}
	b := new(bitmap)
	if len(v) == 0 {
		return fullBitmap, nil
	}
	if len(v) != len(b.words)*8 {
		return nil, errDamaged
	}
	for i, x := range v {
		b.words[i/8] |= uint64(x) << (i % 8 * 8)
	}
	for _, w := range b.words {
		b.count += bits.OnesCount64(w)
	}
	return b, nil
}

// settledSet knows of every sequence whether it is settled: all below low are,
// and above it the bitmaps say. Ranges that are all settled, and have none
// unsettled below, are forgotten by raising low.
type settledSet struct {
	low      uint64 // first range that is kept
	ranges   map[uint64]*bitmap
	messages uint64 // that are settled: sequence 0 is none
}

func (s *settledSet) has(seq uint64) bool {
	r := seq >> bitmapShift
	if r < s.low {
		return true
	}
	b := s.ranges[r]
	return b != nil && b.has(seq)
}

// allSettled returns the last sequence of the range of seq, if all of it is
// settled and kept. Behind one message that is held for long there may be very
// many such ranges.
func (s *settledSet) allSettled(seq uint64) (last uint64, ok bool) {
	b := s.ranges[seq>>bitmapShift]
	return seq | (1<<bitmapShift - 1), b != nil && b.full()
}

// set marks seq and returns its range.
func (s *settledSet) set(seq uint64) uint64 {
	r := seq >> bitmapShift
	b := s.ranges[r]
	if b == nil {
		b = new(bitmap)
		s.ranges[r] = b
	}
	if b.set(seq) && seq > 0 {
		s.messages++
	}
	if b.full() {
		s.ranges[r] = fullBitmap
	}
	return r
}

// load takes over a bitmap that was read.
func (s *settledSet) load(r uint64, b *bitmap) {
	s.ranges[r] = b
	s.messages += uint64(b.count)
	if r == 0 && b.has(0) {
		s.messages--
	}
}

// startAt sets low, before any bitmap is loaded.
func (s *settledSet) startAt(low uint64) {
	s.low, s.messages = low, 0
	if low > 0 {
		s.messages = low<<bitmapShift - 1 // without sequence 0
	}
}

// raise forgets the full ranges at the low end and returns them. Sequence 0 is
// never given to a message and counts as settled.
func (s *settledSet) raise() (forgotten []uint64) {
	for {
		b := s.ranges[s.low]
		if b == nil || !b.full() {
			return forgotten
		}
		delete(s.ranges, s.low)
		forgotten = append(forgotten, s.low)
		s.low++
	}
}
