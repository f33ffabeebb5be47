package ackgate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Cause is why the calls of a subscription, or messages of it, are held up.
type Cause string

// The causes, the weightiest first.
const (
	Paused      Cause = "paused"      // by an operator: none begins
	NotReady    Cause = "not_ready"   // the application's readiness says no: none begins
	Unreachable Cause = "unreachable" // the handler cannot be reached: one at a time probes it
	Failing     Cause = "failing"     // most calls fail: one at a time probes it
	// Refused holds up no call, but messages that a broker was to take back and did not.
	Refused Cause = "send_back_refused"
)

// AllLeased is told to who pulls, and holds up no more than the messages of a queue of
// which as many are leased as may be.
const AllLeased Cause = "leased"

var causes = []Cause{Paused, NotReady, Unreachable, Failing, Refused}

// HeldUp is one cause, since when, and what is known of it.
type HeldUp struct {
	Cause  Cause
	Since  time.Time
	Detail string
}

// Brake keeps the calls of a subscription from beginning, for as long as there is a
// cause. What has begun goes on to its end. It outlives the gates of the
// subscription. Methods may be called from many goroutines.
type Brake struct {
	subscription string
	metrics      *Metrics

	mu      sync.Mutex
	on      map[Cause]HeldUp
	running int           // calls that have begun
	changed chan struct{} // closed and replaced with each change of on
}

// NewBrake returns one that holds up nothing. m is that of the gates; nil: it tells
// no metric.
func NewBrake(subscription string, m *Metrics) *Brake {
	if m == nil {
		m = NewMetrics(nil)
	}
	for _, c := range causes {
		m.heldUp.WithLabelValues(subscription, string(c)).Set(0)
	}
	return &Brake{subscription: subscription, metrics: m, on: map[Cause]HeldUp{}, changed: make(chan struct{})}
}

// Apply holds calls up for a cause: when it returns, none begins any more. It
// reports whether the cause is new; the detail of one that is not is replaced.
func (b *Brake) Apply(c Cause, since time.Time, detail string) (isNew bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, known := b.on[c]
	if known {
		since = was.Since
	}
	b.on[c] = HeldUp{c, since, detail}
	if !known {
		b.turned(c, 1)
	}
	return !known
}

// Release takes a cause away, and reports whether it was one.
func (b *Brake) Release(c Cause) (was bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, was = b.on[c]; was {
		delete(b.on, c)
		b.turned(c, 0)
	}
	return was
}

func (b *Brake) turned(c Cause, to float64) {
	close(b.changed)
	b.changed = make(chan struct{})
	b.metrics.heldUp.WithLabelValues(b.subscription, string(c)).Set(to)
}

// Causes tells what it holds up for, the weightiest first.
func (b *Brake) Causes() []HeldUp {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []HeldUp
	for _, h := range b.on {
		all = append(all, h)
	}
	return inOrder(all)
}

func inOrder(all []HeldUp) []HeldUp {
	slices.SortFunc(all, func(x, y HeldUp) int {
		return slices.Index(causes, x.Cause) - slices.Index(causes, y.Cause)
	})
	return all
}

// isOn reports whether there is a cause.
func (b *Brake) isOn() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.on) > 0
}

// await returns when there is no cause, or ctx or done is.
func (b *Brake) await(ctx context.Context, done <-chan struct{}) {
	for {
		b.mu.Lock()
		open, changed := len(b.on) == 0, b.changed
		b.mu.Unlock()
		if open {
			return
		}
		select {
		case <-changed:
		case <-done:
			return
		case <-ctx.Done():
			return
		}
	}
}

// begin counts a call that is about to begin, unless there is a cause. One that
// may begin owes an end.
func (b *Brake) begin() (may bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.on) > 0 {
		return false
	}
	b.running++
	return true
}

func (b *Brake) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running--
}

func (b *Brake) inFlight() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running
}

// State is how a subscription is, for an operator.
type State struct {
	InFlight int      // handler calls that run
	Leased   int      // messages that the application has leased
	Held     int      // messages taken from the broker and not acked, both of these included
	HeldUp   []HeldUp // why calls, or messages, are held up, the weightiest first; none: they are not
}

// String is the weightiest cause, or "running".
func (s State) String() string {
	if len(s.HeldUp) == 0 {
		return "running"
	}
	return string(s.HeldUp[0].Cause)
}

// Detail says all causes in a line.
func (s State) Detail() string {
	var all []string
	for _, h := range s.HeldUp {
		all = append(all, strings.TrimSuffix(string(h.Cause)+": "+h.Detail, ": "))
	}
	return strings.Join(all, "; ")
}

// State tells how the gate's subscription is.
func (g *Gate) State() State {
	s := State{InFlight: g.brake.inFlight(), Leased: int(g.leased.Load()), Held: int(g.held.Load()), HeldUp: g.brake.Causes()}
	if since, shut := g.app.shutSince(); shut {
		why := HeldUp{Cause: Unreachable, Since: since}
		if err := g.unseen.Load(); err != nil {
			why.Detail = fmt.Sprint(*err)
		}
		s.HeldUp = append(s.HeldUp, why)
	}
	if why, is := g.pace.tell(); is {
		s.HeldUp = append(s.HeldUp, why)
	}
	if why, is := g.refusals.tell(); is {
		s.HeldUp = append(s.HeldUp, why)
	}
	s.HeldUp = inOrder(s.HeldUp)
	return s
}
