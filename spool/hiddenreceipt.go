package spool

import "github.com/remora-mq/remora/internal/kv"

// hiddenReceipt is the damage that may hide what is read for the receipt of a sequence;
// nil: there is none.
func (s *Spool) hiddenReceipt(seq uint64) error {
	for _, where := range s.placesOf(seq) {
		if err := s.hiddenIn(where); err != nil {
			return err
		}
	}
	return nil
}

// hiddenIn looks at all that leads to an entry, or, in reverse, at its neighbour.
func (s *Spool) hiddenIn(where kv.Scan) error {
	where.KeysOnly, where.Whole = true, true
	return s.db.Scan(where, func(_, _ []byte) (bool, error) { return !where.Reverse, nil })
}

// placesOf are where that is read.
func (s *Spool) placesOf(seq uint64) []kv.Scan {
	s.mu.Lock()
	l, settled, high := s.dead[seq], s.settled.has(seq), s.head.highWater
	if rd := s.redriven[seq]; rd != nil {
		l = rd.lane
	}
	s.mu.Unlock()
	switch {
	case seq == 0 || seq > high:
		return nil
	case l != nil:
		return []kv.Scan{{Prefix: deadKey(l.id, seq)}}
	case settled:
		return []kv.Scan{{Prefix: key64(receiptPrefix, seq>>receiptBucketShift)}}
	}
	all := []kv.Scan{{Prefix: key64(delayedPrefix, seq)}, {Prefix: indexPrefix, From: indexKey(seq), Reverse: true}}
	if l, first, err := s.findBlock(seq); err == nil && l != nil {
		all = append(all, kv.Scan{Prefix: blockKey(l.id, first)})
	}
	return all
}
