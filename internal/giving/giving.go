package giving

import (
	"context"
	"math"
	"time"
)

const (
	// Much is the waste that is worth a call where no room is missing, in bytes.
	Much = 64 << 20
	// every is the least time from the end of one call to the next.
	every = 15 * time.Second
	// Where no room is missing, a call waits until no more than busyBytes were written
	// within idleFor: under load it would cost the applications time, and compactions of
	// the normal course do what it does.
	busyBytes = 1 << 20
	idleFor   = 5 * time.Second
)

// Never is an Enough for which there is no call, however much there is to give.
const Never = math.MaxInt64

// State is what there is at a moment, in bytes.
type State struct {
	Wrote    int64 // since ever
	Used     int64 // on the disk
	Held     int64 // of Used: by messages that are not settled
	Retained int64 // of Used: by settled ones that are kept
	Fixed    int64 // of Used: logs, and what else no call gives back
	Enough   int64 // the waste that is worth a call now, for want of room; 0: there is room
}

// waste is what a call can give back, about.
func (s *State) waste() int64 { return max(s.Used-s.Held-s.Retained-s.Fixed, 0) }

// Giver makes the calls, one at a time. It belongs to one goroutine.
type Giver struct {
	give  func(ctx context.Context, at State)
	kept  int64 // waste that the last call has left: receipts, keys, half-empty tables
	next  time.Time
	wrote int64         // State.Wrote, when busy was noted
	busy  time.Time     // when much was written last
	done  chan struct{} // of the call that was made last; nil: its end was seen
	live  int64         // what was held and retained when it began: it left that
}

// New has give called on a goroutine of its own, with the state in which it is worth it.
func New(give func(ctx context.Context, at State)) *Giver { return &Giver{give: give} }

// Consider is called once a second, and makes a call if it is worth it.
func (g *Giver) Consider(ctx context.Context, now time.Time, s State) {
	if s.Wrote-g.wrote > busyBytes {
		g.wrote, g.busy = s.Wrote, now
	}
	switch {
	case g.runs():
		return
	case g.done != nil: // it has ended since
		left := max(g.live-s.Held-s.Retained, 0) // while the call ran: the next one gives it back
		g.done, g.kept, g.next = nil, max(s.waste()-left, 0), now.Add(every)
	}
	g.kept = min(g.kept, s.waste())
	if s.waste()-g.kept >= g.worth(now, &s) && !now.Before(g.next) {
		g.start(ctx, s)
	}
}

// worth is the waste that makes a call worth it.
func (g *Giver) worth(now time.Time, s *State) int64 {
	switch {
	case s.Enough > 0:
		return s.Enough
	case s.Held < Much && now.Sub(g.busy) >= idleFor:
		return max(Much, s.Retained/2)
	}
	return Never
}

func (g *Giver) runs() bool {
	if g.done == nil {
		return false
	}
	select {
	case <-g.done:
		return false
	default:
		return true
	}
}

func (g *Giver) start(ctx context.Context, s State) {
	done := make(chan struct{})
	g.done, g.live = done, s.Held+s.Retained
	go func() {
		defer close(done)
		g.give(ctx, s)
	}()
}

// Wait returns when no call runs.
func (g *Giver) Wait() {
	if g.done != nil {
		<-g.done
	}
}
