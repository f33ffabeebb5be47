package spool

// aheadBatches is how much of a lane is read, and allowed to be attempted, before it
// is asked for: in batches. A commit takes longer than the broker takes for one of
// them, and several fit into its time.
const aheadBatches = 64

// goAhead begins what the next calls of Lease would wait for, while attempts succeed:
// to allow attempts for all that is in the window, and to read on. A lane that fails
// takes neither memory nor the right to cancel before it needs to. s.mu is held.
func (s *Spool) goAhead(l *lane, most int) {
	if !l.flowing || s.closed() {
		return
	}
	w, room, ahead := &l.window, s.room(), aheadBatches*max(1, most)
	if w.queued < ahead && !s.yields(l) && s.windows < s.opts.Window/2 && room >= s.opts.Window/leastRoom && s.startLoading(l, room) {
		s.running.Go(func() { _ = s.loadBlocks(l) }) // Lease meets the error again
	}
	if l.attemptedSynced < w.loadedTo {
		s.startRaise(l)
	}
}

// startRaise makes durable that attempts are made for all that is in l's window, and
// raises the lane when it is. A failure ends the spool. s.mu is held.
func (s *Spool) startRaise(l *lane) {
	if l.raising || s.closed() {
		return
	}
	l.raising = true
	upTo := l.window.loadedTo
	s.running.Go(func() {
		_ = s.commit(s.life, &raiseAttempted{l, upTo})
		s.mu.Lock()
		defer s.mu.Unlock()
		l.raising = false
		l.ready.raise()
	})
}
