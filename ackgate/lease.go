package ackgate

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/push"
)

// leaseState is where a delivery is, as the application sees it.
type leaseState uint8

const (
	called     leaseState = iota // handed over, and not answered yet
	leased                       // the application's until the lease ends
	acked                        // done: by a 200, or by its ID
	nacked                       // given back by its ID
	expired                      // the lease ended, or the call: without an answer, or by one that failed
	superseded                   // another delivery of the message has begun
)

func (s leaseState) String() string {
	return [...]string{"called", "leased", "acked", "nacked", "expired", "superseded"}[s]
}

// moves is the table of docs/state_machine.md.
var moves = map[leaseState][]leaseState{
	called:     {leased, acked, nacked, expired, superseded},
	leased:     {acked, nacked, expired, superseded},
	acked:      {},
	nacked:     {acked, superseded},
	expired:    {acked, superseded},
	superseded: {},
}

var (
	// ErrUnknownDelivery: no delivery of that ID is known. It may have ended long
	// ago, or before the sidecar was restarted.
	ErrUnknownDelivery = errors.New("no such delivery is known")
	// ErrLeaseExpired: the message went to another delivery, or is on its way there.
	ErrLeaseExpired = errors.New("the lease of the delivery has ended")
	// ErrAcked: the delivery is done, and cannot be given back.
	ErrAcked = errors.New("the delivery was acked before")
	// ErrNotRecorded: the dedupe store fails. What was asked for is not done.
	ErrNotRecorded = errors.New("the dedupe store did not record it")
)

// lease is one delivery in the application's hands. It begins with the call of the
// handler, so that an ack that overtakes the answer finds it.
type lease struct {
	id       string
	identity string // of the message
	number   number
	gate     *Gate
	key      dedupe.Key
	mark     dedupe.Mark

	mu      latch // held while an ack is written: nothing else is decided meanwhile
	state   leaseState
	late    bool // it was acked after its end
	untold  bool // nobody came to know of it
	rest    rest // what is kept of it when it has ended
	gone    bool // the gate does not hold the message any more
	until   time.Time
	most    time.Time // nothing moves until beyond it
	plea    Nack
	changed chan struct{} // has room for one: the lease has moved; nil: it was not leased
	done    chan struct{} // closed: acked
}

// latch is a mutex that may be held for seconds: who waits for it is asleep also to
// testing/synctest.
type latch struct {
	wanted atomic.Int32  // by its holder, and those who wait
	passed chan struct{} // from its holder to one of them
}

func newLatch() latch { return latch{passed: make(chan struct{}, 1)} }

func (l *latch) Lock() {
	if l.wanted.Add(1) > 1 {
		<-l.passed
	}
}

func (l *latch) Unlock() {
	if l.wanted.Add(-1) > 0 {
		l.passed <- struct{}{} // there is room: who had it before has taken it out
	}
}

// Nack is what the application wants of a message that it gives back.
type Nack struct {
	// Delay before the next delivery; negative: as after a failed call.
	Delay time.Duration
	// DeadLetter: not another one, but to the dead letters.
	DeadLetter bool
}

// Lease tells of a delivery.
type Lease struct {
	ID        string
	MessageID string // the message's identity
	State     string
	ExpiresAt time.Time // zero, unless it is leased
}

// to moves on, if the table allows that. mu is held.
func (l *lease) to(next leaseState) bool {
	for _, allowed := range moves[l.state] {
		if allowed != next {
			continue
		}
		l.state = next
		if next == leased && l.changed == nil {
			l.changed = make(chan struct{}, 1)
		}
		l.wake()
		if next == acked {
			close(l.done)
		}
		return true
	}
	return false
}

func (l *lease) tell() Lease {
	t := Lease{ID: l.id, MessageID: l.identity, State: l.state.String()}
	if l.state == leased {
		t.ExpiresAt = l.until
	}
	return t
}

// ack writes the mark and then lets the message be acked to the broker.
func (l *lease) ack(ctx context.Context) (late bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.state {
	case acked:
		return l.late, nil
	case superseded:
		return false, ErrLeaseExpired
	case called, leased, nacked, expired:
	}
	late = l.state != called && l.state != leased
	if !l.gate.keeps(l.mark) && l.gone {
		return false, ErrLeaseExpired // nobody would know of it
	}
	l.gate.noteHandled(l.number)
	err = l.gate.writeDone(ctx, l.key, l.mark)
	switch {
	case errors.Is(err, dedupe.ErrFenced):
		l.to(superseded)
		return false, ErrLeaseExpired
	case err != nil && (late || errors.Is(err, dedupe.ErrClosed)):
		return false, fmt.Errorf("%w: %w", ErrNotRecorded, err)
	case err != nil: // the message is here, and is acked without
		l.gate.sayUnmarked(l.identity, err)
	}
	l.late = late
	l.to(acked)
	if late {
		l.gate.metrics.leases.WithLabelValues(l.gate.o.Subscription, "late").Inc()
	}
	return late, nil
}

// nack gives the message back.
func (l *lease) nack(n Nack) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.state {
	case acked:
		return ErrAcked
	case nacked:
		return nil
	case called, leased:
		l.plea = n
		l.to(nacked)
		return nil
	default:
		return ErrLeaseExpired
	}
}

// extend moves the end of the lease to d from now, or as near as the hold allows.
func (l *lease) extend(ctx context.Context, d time.Duration) (Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.state {
	case acked:
		return Lease{}, ErrAcked
	case called, leased:
	default:
		return Lease{}, ErrLeaseExpired
	}
	until, most := l.ends(d)
	err := l.gate.extendMark(ctx, l, time.Until(until))
	switch {
	case errors.Is(err, dedupe.ErrFenced):
		l.to(superseded)
		return Lease{}, ErrLeaseExpired
	case err != nil:
		return Lease{}, fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	l.until, l.most = until, most
	l.to(leased) // it overtook the answer, unless it was leased before
	l.wake()
	return l.tell(), nil
}

// ends tells when a lease of d from now would end, and the hold at the latest. mu
// is held.
func (l *lease) ends(d time.Duration) (until, most time.Time) {
	now := time.Now()
	most = l.most
	if most.IsZero() {
		most = now.Add(l.gate.o.MaxHold)
	}
	return earlier(now.Add(max(d, minLease)), most), most
}

// grant leases the message for d, or for as long as may be when d is 0, unless the
// application has spoken already; an extension that overtook the answer stays.
func (l *lease) grant(d time.Duration) (until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d == 0 && l.state == called {
		d = l.gate.o.MaxHold
	}
	until, most := l.ends(d)
	if until.Before(l.until) {
		until = l.until
	}
	if l.to(leased) || l.state == leased {
		l.until, l.most = until, most
	}
	return until
}

// answered tells what the application had said by ID when its answer came. One that
// failed, and one that is none, leave the delivery open for a late ack.
func (l *lease) answered(a push.Answer) leaseState {
	l.mu.Lock()
	defer l.mu.Unlock()
	said := l.state
	answered := a.Status != 0 || a.Disposition == push.Unreachable
	switch {
	case said == acked || said == nacked || a.Disposition == push.Leased:
		return said
	case a.Disposition == push.Done:
		l.leaves(nothing)
		return said
	case a.Disposition == push.Unreachable:
		l.leaves(nothing)
	case answered:
		l.leaves(apart)
	}
	if said == called || answered { // what was extended goes on without an answer
		l.to(expired)
	}
	return l.state
}

// look is where the delivery is now, and how long that may last. A lease that has
// come to its end ends here.
func (l *lease) look(stop bool) (leaseState, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := time.Until(l.until)
	if l.state == leased && (stop || wait <= 0) {
		l.to(expired)
	}
	return l.state, wait
}

// leave ends what another delivery takes over; it reports an ack that came first.
func (l *lease) leave(next leaseState) (wasAcked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to(next)
	return l.state == acked
}

func (l *lease) isAcked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == acked
}

// leaves notes what is kept of a delivery of which the application has said nothing
// by its ID. mu is held.
func (l *lease) leaves(r rest) {
	if l.state == called {
		l.rest = r
	}
}

func (l *lease) remains() rest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rest
}

// takeBack ends a lease that nobody came to know of.
func (l *lease) takeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == leased {
		l.untold = l.to(expired)
	}
}

func (l *lease) isUntold() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.untold
}

func (l *lease) plead() Nack {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plea
}

func (l *lease) wake() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
