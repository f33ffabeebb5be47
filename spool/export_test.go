package spool

import "fmt"

// Overdrawn watches for commits that write more than their operations declared.
// It returns the first one, described, or "".
func Overdrawn(s *Spool) (first func() string) {
	said := ""
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writer.wrote = func(ops []operation, c *commit) {
		declared, entries := 0, 0
		for _, op := range ops {
			declared += op.size()
			entries += 8 + op.size()/48
		}
		if said == "" && (c.bytes > declared || c.entries > entries) {
			s.mu.Lock()
			said = fmt.Sprintf("%T and others, %d: wrote %d bytes, %d entries, declared %d and %d", ops[0], len(ops), c.bytes, c.entries, declared, entries)
			s.mu.Unlock()
		}
	}
	return func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return said
	}
}

// Expire does at once what is done every few seconds.
func (s *Spool) Expire() error { return s.expire() }

// ExpiredReceipts finds what retention ends, to be dropped later.
func (s *Spool) ExpiredReceipts() (drop func() error) {
	op := &dropReceipts{s.expiredReceipts()}
	return func() error { return s.commit(s.life, op) }
}
