package ackgate

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// quickCall is how long the calls of a handler may take for marks to be begun
	// ahead of them: so long a message waits about, in progress and not called.
	quickCall = 20 * time.Millisecond
	// aheadMost is how long it waits at most, which is little of leaseMargin. Then
	// the handler is slow, and its attempt is taken off the count.
	aheadMost = time.Second
)

// slots bound the calls of a handler at a time. A mark is begun in a slot, and one of a
// quick handler ahead of it: its slot would else be empty for as long as a store takes
// to write one, which is longer than the call.
type slots struct {
	calls chan struct{}
	ahead chan struct{}
	took  atomic.Int64 // ns of a call: the mean, in which the last ones weigh most
}

// newSlots makes n, and as many places ahead. There is none where a message has one
// attempt: a kill would make a dead letter of one that was never called.
func newSlots(n, attempts int) *slots {
	ahead := n
	if attempts == 1 {
		ahead = 0
	}
	s := &slots{calls: make(chan struct{}, n), ahead: make(chan struct{}, ahead)}
	s.took.Store(int64(aheadMost)) // not known
	return s
}

// note is told how long a call took. One that is lost among many is no matter.
func (s *slots) note(took time.Duration) {
	mean := s.took.Load()
	s.took.Store(mean + (int64(min(took, aheadMost))-mean)/8)
}

func (s *slots) quick() bool { return s.took.Load() < int64(quickCall) }

// place is a slot, or one ahead of it. Its end is leave. It belongs to one goroutine.
type place struct {
	of   *slots
	held chan struct{}   // calls or ahead
	vain <-chan struct{} // closed: from ahead, a slot is waited for in vain
}

// enter takes a slot. Where it would have to wait for one, and calls are quick and the
// handler is not failing, it takes a place ahead instead.
func (s *slots) enter(ctx context.Context, failing func() bool) (*place, error) {
	select {
	case s.calls <- struct{}{}:
		return &place{of: s, held: s.calls}, nil
	default:
	}
	ahead := s.ahead
	for {
		if !s.quick() || failing() {
			ahead = nil
		}
		select {
		case s.calls <- struct{}{}:
			return &place{of: s, held: s.calls}, nil
		case ahead <- struct{}{}:
			if s.quick() && !failing() {
				return &place{of: s, held: ahead}, nil
			}
			<-ahead // not any more
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (p *place) isAhead() bool { return p.held == p.of.ahead }

// slot makes sure of one, and reports whether there is one for a call that may begin:
// none does when ctx is done.
func (p *place) slot(ctx context.Context) bool {
	if p.isAhead() {
		p.advance(ctx)
	}
	return !p.isAhead() && ctx.Err() == nil
}

func (p *place) advance(ctx context.Context) {
	timer := time.NewTimer(aheadMost)
	defer timer.Stop()
	select {
	case p.of.calls <- struct{}{}:
		<-p.of.ahead
		p.held = p.of.calls
	case <-p.vain:
	case <-timer.C:
		p.of.took.Store(int64(aheadMost)) // nobody begins one ahead for a while
	case <-ctx.Done():
	}
}

func (p *place) leave() { <-p.held }
