package ackgate

import (
	"context"
	"sync"
)

// hands counts what the application has of each queue. A queue of which too much
// is not acked is not fetched from any more, so only so many of its messages may
// be leased.
type hands struct {
	most   int
	pulled bool // every message that is handed over is leased

	mu     sync.Mutex
	queues map[string]*hand
}

// hand is of one queue. While there are leases, calls count too: each may become
// one.
type hand struct {
	calls, leases int
	freed         chan struct{} // closed when there may be a seat; nil: nobody waits
}

// seat is a message's place in the application's hands, from its call to the end of
// its lease. It belongs to one goroutine.
type seat struct {
	all    *hands
	of     *hand
	leased bool
}

func newHands(most int) *hands { return &hands{most: most, queues: map[string]*hand{}} }

// take gives a seat; nil: there is none now.
func (h *hands) take(queue string) *seat {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := h.queues[queue]
	if q == nil {
		q = &hand{}
		h.queues[queue] = q
	}
	if h.wait(q) != nil {
		return nil
	}
	q.calls++
	return &seat{all: h, of: q}
}

// full is what to wait for when there is no seat; nil: there is one.
func (h *hands) full(queue string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wait(h.queues[queue])
}

// keepBack reports whether a message waits for a seat.
func (h *hands) keepBack() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range h.queues {
		if q.freed != nil {
			return true
		}
	}
	return false
}

func (h *hands) wait(q *hand) <-chan struct{} {
	if q == nil || q.leases == 0 && !h.pulled || q.leases+q.calls < h.most {
		return nil
	}
	if q.freed == nil {
		q.freed = make(chan struct{})
	}
	return q.freed
}

// lease makes a call's seat a lease's.
func (s *seat) lease() {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.leased = true
	s.of.calls--
	s.of.leases++
}

// leave gives the seat back.
func (s *seat) leave() {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	if s.leased {
		s.of.leases--
	} else {
		s.of.calls--
	}
	if s.of.freed != nil {
		close(s.of.freed)
		s.of.freed = nil
	}
}

// awaitSeat returns when there may be a seat, or ctx is done. Who has to wait makes
// room for messages of other queues.
func (h *held) awaitSeat(ctx context.Context) {
	for ctx.Err() == nil {
		freed := h.g.hands.full(h.d.Queue)
		if freed == nil {
			return
		}
		h.park()
		select {
		case <-freed:
		case <-ctx.Done():
		}
	}
}

func (h *held) leaveSeat() {
	if h.seat != nil {
		h.seat.leave()
		h.seat = nil
	}
}

func (h *held) park() {
	if h.d.Park != nil {
		h.d.Park()
	}
}
