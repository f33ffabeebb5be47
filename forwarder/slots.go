package forwarder

import (
	"context"
	"slices"
	"sync"
)

// slots bounds the attempts that run at a time, over all topics: those that there
// are, and after an outage those of the ramp. It is the only line in which batches
// wait. When slots are short, each topic that waits gets its part by weight: with 4
// against 1, four of five, up to half of all, and no topic waits for ever.
//
// Slots that become free at one moment are shared by weight, too: of a topic with a
// backlog as many batches wait as it would get if all were given back at once.
type slots struct {
	mu      sync.Mutex
	most    int
	share   int // of these, that one topic may have: the others need some
	running int
	ramp    ramp
	passed  float64 // the most that one that got a slot had before it
	waiting []*turn // those with batches that wait
	weights int     // of these, together
	queuing []*turn // those with a batch that may not wait yet
}

func newSlots(most int) *slots {
	return &slots{most: most, share: max(1, most/2), ramp: newRamp(most)}
}

// turn is what a topic has had of the slots, and what of it waits for more.
type turn struct {
	weight  int
	had     float64 // slots, divided by its weight
	running int
	waiting []*batch      // the first one is next
	room    chan struct{} // closed once another batch may wait
	full    bool          // what wants to wait would be no larger later
	failed  int           // attempts: each sends away what waits
}

func newTurn(weight int) *turn { return &turn{weight: max(1, weight)} }

// batch waits for a slot, or has one.
type batch struct {
	of     *turn
	ramped bool      // the ramp bounds it
	slot   chan bool // false: its topic began to fail while it waited
}

// join tells of a topic more.
func (s *slots) join() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ramp.lanes++
}

// queue has a batch wait, once none of its topic does, or, when it is full, fewer than
// are the topic's part of all slots; nil: ctx was done before. Who is not full may yet
// grow, where messages come. A topic has one caller at a time.
func (s *slots) queue(ctx context.Context, t *turn, ramped, full bool) *batch {
	s.mu.Lock()
	t.room, t.full = make(chan struct{}), full
	failed := t.failed
	s.queuing = append(s.queuing, t)
	s.hand()
	s.mu.Unlock()
	select {
	case <-t.room:
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queuing = slices.DeleteFunc(s.queuing, func(q *turn) bool { return q == t })
		return nil
	}
	b := &batch{of: t, ramped: ramped, slot: make(chan bool, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.failed != failed {
		b.slot <- false
		return b
	}
	if len(t.waiting) == 0 {
		s.forget(t)
		s.waiting, s.weights = append(s.waiting, t), s.weights+t.weight
	}
	t.waiting = append(t.waiting, b)
	s.hand()
	return b
}

// forget ends what a topic has saved up while it was away, but for one turn: a topic
// that comes back with its next batch was not.
func (s *slots) forget(t *turn) { t.had = max(t.had, s.passed-1) }

// take waits for the batch's slot. It returns false when ctx is done before, or when
// its topic has begun to fail: then it is to be given back.
func (s *slots) take(ctx context.Context, b *batch) bool {
	select {
	case granted := <-b.slot:
		return granted
	case <-ctx.Done():
		return s.leave(b)
	}
}

// leave takes back a wish; true: it was granted just now.
func (s *slots) leave(b *batch) (granted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(b.of.waiting, b)
	if i < 0 {
		return <-b.slot
	}
	b.of.waiting = slices.Delete(b.of.waiting, i, i+1)
	s.hand()
	return false
}

// give ends the attempt of a batch.
func (s *slots) give(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := b.of
	if t.running == s.share {
		s.forget(t) // for who had all that it may have it is the same
	}
	s.running--
	t.running--
	if b.ramped {
		s.ramp.running--
	}
	s.hand()
}

// succeeded notes an attempt that was confirmed.
func (s *slots) succeeded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ramp.succeeded()
	s.hand()
}

// failed notes an attempt of a topic that no broker took, and sends away what of the
// topic waits: from now on it makes one attempt at a time. alone: what is wrong is
// known to be the topic's.
func (s *slots) failed(topic string, t *turn, alone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !alone {
		s.ramp.failed(topic)
	}
	for _, b := range t.waiting {
		b.slot <- false
	}
	t.waiting = nil
	t.failed++
	s.hand()
}

// limit is how many attempts are allowed at a time.
func (s *slots) limit() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ramp.allowed
}

// hand gives the free slots to those who have had least, and lets batches wait in
// the places of those that have got one. s.mu is held.
func (s *slots) hand() {
	for t := s.next(); t != nil; t = s.next() {
		b := t.waiting[0]
		t.waiting = t.waiting[1:]
		s.running++
		t.running++
		if b.ramped {
			s.ramp.running++
		}
		s.passed = max(s.passed, t.had)
		t.had += 1 / float64(t.weight)
		b.slot <- true
	}
	s.waiting = slices.DeleteFunc(s.waiting, s.over)
	s.queuing = slices.DeleteFunc(s.queuing, s.admit)
}

// over reports whether nothing of a topic waits any more.
func (s *slots) over(t *turn) bool {
	if len(t.waiting) > 0 {
		return false
	}
	s.weights -= t.weight
	return true
}

// next is whose batch gets the next slot; nil: there is none for any that waits.
func (s *slots) next() (next *turn) {
	if s.running == s.most {
		return nil
	}
	for _, t := range s.waiting {
		if len(t.waiting) == 0 || t.running >= s.share || t.waiting[0].ramped && s.ramp.running >= s.ramp.allowed {
			continue
		}
		if next == nil || t.had < next.had {
			next = t
		}
	}
	return next
}

// admit lets another batch of a topic wait, if there is a place.
func (s *slots) admit(t *turn) bool {
	if n := len(t.waiting); n > 0 && (!t.full || n >= s.part(t)) {
		return false
	}
	close(t.room)
	return true
}

// part is how many slots a topic, which waits, would get of all that there are, and
// one more where these are several: parts are not whole.
func (s *slots) part(t *turn) int {
	if n := s.ramp.allowed * t.weight / s.weights; n > 0 {
		return min(s.share, n+2)
	}
	return 1
}
