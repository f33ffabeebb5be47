package spool

import "time"

// How long a turn is waited for, and not.
const (
	TurnWait = turnWait
	TurnRest = turnRest
	MostWait = mostWait
)

// SetTurnClock has turns judged by another clock.
func (s *Spool) SetTurnClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns.now = now
}

// ForgetWaits has nobody have waited for a turn before.
func (s *Spool) ForgetWaits() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		l.waits = time.Time{}
	}
}

// ExpectTurn has one be expected, as after one of another topic.
func (s *Spool) ExpectTurn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns.made()
}
