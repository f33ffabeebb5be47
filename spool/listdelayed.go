package spool

import "github.com/remora-mq/remora/internal/kv"

// walkDelayed reads the delayed messages behind at.
func (l *lister) walkDelayed() (done bool, err error) {
	return l.scan(kv.Scan{Prefix: delayedPrefix, From: delayedKey(l.at.seq+1, 0)}, func(k, v []byte) error {
		l.left -= len(v)
		if !fits(k) {
			l.page.Unreadable++
			return nil
		}
		l.at.seq = tail64(k, len(delayedPrefix))
		d, err := decodeDelayed(v)
		switch {
		case err != nil:
			l.page.Unreadable++
		case l.q.fitsHead(&d.record.Message) && !l.s.leaving(l.at.seq):
			l.take(&d.record, l.s.receiptOfDelayed(&d), "")
		}
		return nil
	})
}

// leaving reports whether a message of a sequence is settled, or is about to be.
// What is being moved may not be seen elsewhere yet.
func (s *Spool) leaving(seq uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settled.has(seq) && s.moving[seq] == nil || s.settling[seq] != nil
}
