package spool

import "time"

// Oldest returns when the oldest message that still waits for its confirmation
// was accepted; false: none waits. Dead letters do not count. A topic of which
// nothing was read yet, right after a start, does not count either.
func (s *Spool) Oldest() (oldest time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		if at, found := s.oldestOf(l); found && (!ok || at.Before(oldest)) {
			oldest, ok = at, true
		}
	}
	return oldest, ok
}

// oldestOf looks at the first blocks of l: what is in memory is its oldest part.
func (s *Spool) oldestOf(l *lane) (time.Time, bool) {
	for _, b := range l.blocks {
		for seq := b.firstSeq; seq < b.firstSeq+uint64(b.count); seq++ {
			if e := s.entries[seq]; e != nil {
				return e.msg.AcceptedAt, true
			}
		}
	}
	return time.Time{}, false
}
