package spool

import (
	"fmt"
	"maps"

	"github.com/remora-mq/remora/message"
)

// blocker is a dead letter that the later messages of its ordering key wait for,
// where the options say so: until it has ended, or was redriven and is in its
// window, before them. It follows from the dead letter, and has no entry.
type blocker struct {
	lane *lane
	key  string
	id   message.ID
}

// block makes what is behind m wait. s.mu is held.
func (s *Spool) block(l *lane, m *message.Message) {
	if !s.opts.BlockOnDead || m.OrderingKey == "" || s.blockers[m.Seq] != nil {
		return
	}
	s.blockers[m.Seq] = &blocker{l, m.OrderingKey, m.ID}
	l.window.onHold.add(m.OrderingKey, m.Seq)
	s.left.raise()
}

// unblock lets it go. s.mu is held.
func (s *Spool) unblock(seq uint64) {
	b := s.blockers[seq]
	if b == nil {
		return
	}
	delete(s.blockers, seq)
	b.lane.window.onHold.drop(b.key, seq)
	b.lane.window.free(b.key)
	b.lane.ready.raise()
	s.left.raise()
}

// loadBlockers reads the ordering keys of the dead letters, and of those that were
// redriven and are in no window yet. One that cannot be read blocks nothing.
func (s *Spool) loadBlockers() error {
	if !s.opts.BlockOnDead {
		return nil
	}
	letters := maps.Clone(s.dead)
	for seq, rd := range s.redriven {
		letters[seq] = rd.lane
	}
	for seq, l := range letters {
		d, err := s.readLetter(l, seq)
		switch {
		case err == nil:
			s.mu.Lock()
			s.block(l, &d.record.Message)
			s.mu.Unlock()
		case s.db.Err() != nil:
			return fmt.Errorf("read dead letters: %w", err)
		}
	}
	return nil
}

// BlockedKeys counts the ordering keys whose later messages wait for a dead letter.
func (s *Spool) BlockedKeys() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	type key struct {
		topic uint32
		key   string
	}
	keys := map[key]bool{}
	for _, b := range s.blockers {
		keys[key{b.lane.id, b.key}] = true
	}
	return len(keys)
}

// blockerOf returns the first dead letter that m waits for; zero: it waits for none.
func (s *Spool) blockerOf(m *message.Message, is message.State) (id message.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[m.Topic]
	if l == nil || is == message.StateDead || m.OrderingKey == "" || len(s.blockers) == 0 {
		return id
	}
	for _, seq := range l.window.onHold[m.OrderingKey] {
		if seq >= m.Seq {
			break
		}
		if b := s.blockers[seq]; b != nil {
			return b.id
		}
	}
	return id
}
