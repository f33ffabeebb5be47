package ackgate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
)

var (
	// ErrUnknownSubscription: there is none of that name.
	ErrUnknownSubscription = errors.New("no such subscription")
	// ErrPushed: the subscription has a handler, which gets its messages.
	ErrPushed = errors.New("the subscription has a handler")
	// ErrStopping: the subscription ends, and hands nothing over any more.
	ErrStopping = errors.New("the subscription ends")
)

// maxPulled bounds the bytes of the bodies of one answer, unless one has more.
const maxPulled = 16 << 20

// Pull is what an application asks for.
type Pull struct {
	Max   int           // deliveries, ≥ 1
	Wait  time.Duration // for the first one
	Lease time.Duration // of each; at most MaxHold is given

	// Gone reports that the caller has hung up; it is asked before each message is
	// leased. nil: nobody knows.
	Gone func() bool
}

func (p Pull) gone() bool { return p.Gone != nil && p.Gone() }

// Pulled is a message that was handed over, and is leased.
type Pulled struct {
	Lease

	Delivery    *message.Delivery
	Attempt     int // from 1
	MaxAttempts int
	Unchecked   bool // the dedupe store was passed by: it may be a repeat
}

// Receive hands over messages of a subscription without a handler: those that are
// there, at most p.Max, or the first to come within p.Wait. Each is leased, and marked
// in the dedupe store, before it is returned; one that the caller does not come to know
// is to be taken back (TakeBack), or its lease ends. A lease that ends is a failed
// attempt. None, without an error, means that there was no message. ErrStopping ends
// the wait at once when the subscription does.
func (r *Leases) Receive(ctx context.Context, subscription string, p Pull) ([]Pulled, error) {
	r.mu.Lock()
	g, known := r.gates[subscription]
	ready := r.ready
	r.mu.Unlock()
	switch {
	case known && g.places == nil:
		return nil, ErrPushed
	case known:
		return g.pull(ctx, p)
	case !ready:
		return nil, ErrStarting
	}
	return nil, fmt.Errorf("%w: %.100q", ErrUnknownSubscription, subscription)
}

func (g *Gate) pull(ctx context.Context, p Pull) ([]Pulled, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Wait)
	defer cancel()
	for {
		if g.brake.isOn() {
			g.brake.await(ctx, g.ended)
		}
		all, err := g.gather(ctx, p)
		if len(all) > 0 || err != nil || ctx.Err() != nil || p.gone() {
			return all, err
		}
	}
}

// gather offers places to the held messages that wait for one, and returns those
// that took one and could be begun. Of those that could not, as the first that are too
// many of their queue, others take the places.
func (g *Gate) gather(ctx context.Context, p Pull) (all []Pulled, err error) {
	pl := &puller{lease: p.Lease, gone: p.gone, got: make(chan *Pulled, p.Max)}
	for taken := g.offer(pl, p.Max); taken > 0; taken = g.offer(pl, p.Max-len(all)) {
		all = pl.collect(all, taken)
	}
	if len(all) > 0 || pl.isFull() {
		return all, nil
	}
	select {
	case <-g.ended:
		return nil, ErrStopping
	default:
	}
	select {
	case g.places <- pl:
		return pl.collect(nil, 1), nil
	case <-ctx.Done():
		return nil, nil
	case <-g.ended:
		return nil, ErrStopping
	}
}

// offer gives messages that wait at most so many places, and returns how many have
// taken one.
func (g *Gate) offer(pl *puller, most int) (taken int) {
	for ; taken < most && !pl.isFull(); taken++ {
		select {
		case g.places <- pl:
		default:
			return taken
		}
	}
	return taken
}

// puller is one call of Receive. Each message that takes a place of it sends what
// came of that to got, once.
type puller struct {
	lease time.Duration
	gone  func() bool // the caller has hung up
	got   chan *Pulled

	mu    sync.Mutex
	bytes int
	full  bool // a message had no room, or found nobody
}

// admit reports whether the caller is there, and the answer has room for so many bytes
// more. After one that was not admitted no message is offered a place: however many
// wait, each would come back from it at once.
func (p *puller) admit(n int) bool {
	gone := p.gone()
	p.mu.Lock()
	defer p.mu.Unlock()
	if gone || p.bytes > 0 && p.bytes+n > maxPulled {
		p.full = true
		return false
	}
	p.bytes += n
	return true
}

func (p *puller) isFull() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.full
}

// collect waits for what became of so many places, and adds the messages to all.
func (p *puller) collect(all []Pulled, taken int) []Pulled {
	for range taken {
		if one := <-p.got; one != nil {
			all = append(all, *one)
		}
	}
	return all
}

// awaitPuller holds the message until somebody has pulled it, and then as leased.
// Nobody is called: whatever the consumer has in hand may be pulled at once.
func (h *held) awaitPuller(ctx context.Context) (reason, time.Duration) {
	h.park()
	h.awaitSeat(ctx)
	select {
	case pl := <-h.g.places:
		return h.pulled(ctx, pl)
	case <-h.acked(): // late, by its ID
	case <-ctx.Done():
	}
	return notYet, 0
}

func (h *held) pulled(ctx context.Context, pl *puller) (reason, time.Duration) {
	given, why, wait := h.handOver(ctx, pl)
	if given == nil {
		return why, wait
	}
	h.g.counted.requests.of("pulled").Inc()
	return h.holdLease(ctx)
}

// handOver leases the message to the puller, and tells it in any case.
func (h *held) handOver(ctx context.Context, pl *puller) (given *Pulled, why reason, wait time.Duration) {
	defer func() { pl.got <- given }()
	if !pl.admit(len(h.d.Body)) {
		return nil, notYet, 0
	}
	lease := min(pl.lease, h.g.o.MaxHold)
	why, wait, taken := h.take(ctx, lease+markMargin, nil)
	if !taken {
		return nil, why, wait
	}
	defer h.g.brake.end()
	h.lease.grant(lease)
	return &Pulled{Lease: h.lease.tellNow(), Delivery: h.d, Attempt: h.attemptNumber(), MaxAttempts: h.g.o.MaxAttempts, Unchecked: h.blind}, notYet, 0
}

func (l *lease) tellNow() Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tell()
}

// unpulled plans what follows a lease of a pulled message that ended: to whom pulls,
// it is what the timeout of a call is to a handler.
func (h *held) unpulled(ctx context.Context) time.Duration {
	if h.lease.isUntold() {
		h.release(ctx, false)
		return 0
	}
	attempt := h.attemptNumber()
	h.tries++
	h.release(ctx, true)
	return h.failed(attempt, h.g.o.Retry.Delay(attempt, backoff.Random{}), "lease")
}
