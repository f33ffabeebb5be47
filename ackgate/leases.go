package ackgate

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"
)

const (
	// lateFor and lateMost bound for how long, and of how many deliveries that
	// ended, a late ack still counts: of those that an answer ended, and of others.
	lateFor  = time.Hour
	lateMost = 10_000
)

// ErrStarting reports that deliveries are not known yet.
var ErrStarting = errors.New("the subscriptions are not there yet")

// Leases knows the deliveries of all gates of a process by their IDs. It keeps
// them in memory: after a restart none of them is known, nothing of them was
// acked, and their messages come again when the marks of their leases have ended.
// Methods may be called from many goroutines.
type Leases struct {
	mu    sync.Mutex
	gates map[string]*Gate // by subscription
	byID  map[string]*lease
	ended [nothing][]ending // by rest, oldest first
	ready bool
}

// ending is a delivery that has ended.
type ending struct {
	l  *lease
	at time.Time
}

// rest is what is kept of a delivery that has ended.
type rest uint8

const (
	kept    rest = iota // its ID, for a late ack
	apart               // the same, of one that an answer ended: many failures push no lease out
	nothing             // there is nothing to be said of it
)

// NewLeases returns one that knows no delivery.
func NewLeases() *Leases { return &Leases{byID: map[string]*lease{}, gates: map[string]*Gate{}} }

// Ready says that all gates are there: from now on an ID that is not known is
// none, where before it may be one of a gate to come.
func (r *Leases) Ready() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = true
}

// Ack says that the delivery is done. nil means that the dedupe mark says so, or
// (counted) that the store did not take it and the message is acked without; late
// means that the lease had ended. To say it again is the same. ErrLeaseExpired
// means that the message went to another delivery; ErrNotRecorded, that nothing
// was done, and asking again may help.
func (r *Leases) Ack(ctx context.Context, id string) (late bool, err error) {
	l, err := r.find(id)
	if err != nil {
		return false, err
	}
	return l.ack(ctx)
}

// Nack gives the message back, as a failed attempt. Nothing of that is written
// before it returns: what a crash forgets comes again by itself.
func (r *Leases) Nack(id string, n Nack) error {
	l, err := r.find(id)
	if err != nil {
		return err
	}
	return l.nack(n)
}

// Extend makes the lease end d from now, or as near to that as MaxHold allows; the
// answer tells. nil means that the dedupe mark is held for as long.
func (r *Leases) Extend(ctx context.Context, id string, d time.Duration) (Lease, error) {
	l, err := r.find(id)
	if err != nil {
		return Lease{}, err
	}
	return l.extend(ctx, d)
}

// TakeBack ends the lease of a message that was pulled, when the answer did not
// reach the caller: it is handed over again, at once and at the cost of no attempt.
func (r *Leases) TakeBack(id string) {
	if l, err := r.find(id); err == nil {
		l.takeBack()
	}
}

// Find tells of a delivery.
func (r *Leases) Find(id string) (Lease, error) {
	l, err := r.find(id)
	if err != nil {
		return Lease{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tell(), nil
}

func (r *Leases) find(id string) (*lease, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch l := r.byID[id]; {
	case l != nil:
		return l, nil
	case !r.ready:
		return nil, ErrStarting
	}
	return nil, ErrUnknownDelivery
}

func (r *Leases) join(g *Gate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gates[g.o.Subscription] = g
}

func (r *Leases) add(l *lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byID[l.id] = l
}

// end lets go of a delivery: now, when there is nothing to say of it, or when a
// late ack of it does not count any more.
func (r *Leases) end(l *lease, as rest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if as == nothing {
		delete(r.byID, l.id)
		return
	}
	now := time.Now()
	r.ended[as] = append(r.ended[as], ending{l, now})
	ended := r.ended[as]
	for len(ended) > lateMost || now.Sub(ended[0].at) > lateFor {
		delete(r.byID, ended[0].l.id)
		ended[0] = ending{}
		ended = ended[1:]
	}
	r.ended[as] = ended
}

func (g *Gate) newLease(h *held) *lease {
	l := &lease{
		id: g.run + "-" + strconv.FormatUint(g.calls.Add(1), 10), identity: h.d.Identity, number: numberOf(h.d), gate: g,
		key: h.key, mark: h.mark, mu: newLatch(), done: make(chan struct{}),
	}
	g.leases.add(l)
	return l
}

// HeldUp tells why nothing of a subscription is handed over now; none: it is, or
// there is no such subscription.
func (r *Leases) HeldUp(subscription string) []HeldUp {
	r.mu.Lock()
	g := r.gates[subscription]
	r.mu.Unlock()
	if g == nil {
		return nil
	}
	all := g.brake.Causes()
	if g.hands.keepBack() {
		all = append(all, HeldUp{Cause: AllLeased})
	}
	return all
}
