package forwarder

import (
	"context"
	"slices"
	"sync"
)

// slots bounds the attempts that run at a time, over all topics. When they are
// short, each topic that waits gets its part by weight: with 4 against 1, four of
// five, and no topic waits for ever.
type slots struct {
	mu      sync.Mutex
	free    int
	passed  float64 // what the last one that got a slot had before it
	waiting []*turn
}

// turn is what a topic has had of the slots, and whether it waits for one. It has
// one waiter at a time.
type turn struct {
	weight float64
	had    float64 // slots, divided by its weight
	ready  chan struct{}
}

func newTurn(weight int) *turn { return &turn{weight: float64(max(1, weight))} }

// take waits for a slot. It returns false when ctx is done before.
func (s *slots) take(ctx context.Context, t *turn) bool {
	s.mu.Lock()
	t.had = max(t.had, s.passed) // who was away has saved up nothing
	t.ready = make(chan struct{})
	s.waiting = append(s.waiting, t)
	s.hand()
	s.mu.Unlock()
	select {
	case <-t.ready:
		return true
	case <-ctx.Done():
		return s.leave(t)
	}
}

// leave takes back a wish; true: it was granted just now.
func (s *slots) leave(t *turn) (granted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, t)
	if i < 0 {
		return true
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	return false
}

func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	s.hand()
}

// hand gives the free slots to those who have had least.
func (s *slots) hand() {
	for s.free > 0 && len(s.waiting) > 0 {
		i := 0
		for n, t := range s.waiting {
			if t.had < s.waiting[i].had {
				i = n
			}
		}
		t := s.waiting[i]
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.free--
		s.passed = t.had
		t.had += 1 / t.weight
		close(t.ready)
	}
}
