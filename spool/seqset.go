package spool

// seqSet is a set of sequences: a bit each, in the ranges that have any.
type seqSet struct{ ranges map[uint64]*bitmap }

func newSeqSet() seqSet { return seqSet{ranges: map[uint64]*bitmap{}} }

func (s *seqSet) has(seq uint64) bool {
	b := s.ranges[seq>>bitmapShift]
	return b != nil && b.has(seq)
}

func (s *seqSet) add(seq uint64) {
	b := s.ranges[seq>>bitmapShift]
	if b == nil {
		b = new(bitmap)
		s.ranges[seq>>bitmapShift] = b
	}
	b.set(seq)
}

func (s *seqSet) drop(seq uint64) {
	if !s.has(seq) {
		return
	}
	b := s.ranges[seq>>bitmapShift]
	w, bit := bitOf(seq)
	b.words[w] &^= bit
	if b.count--; b.count == 0 {
		delete(s.ranges, seq>>bitmapShift)
	}
}

// in returns the members among count sequences from first on.
func (s *seqSet) in(first uint64, count int) (all []uint64) {
	if len(s.ranges) == 0 {
		return nil
	}
	for seq := first; seq < first+uint64(count); seq++ {
		if s.has(seq) {
			all = append(all, seq)
		}
	}
	return all
}
