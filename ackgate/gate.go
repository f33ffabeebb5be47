package ackgate

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// Handler calls the application. Deliver returns soon after ctx is done, or the call's
// timeout has passed, and may be called from many goroutines. The zero Answer is a
// failed attempt.
type Handler interface {
	Deliver(ctx context.Context, call *push.Call) push.Answer
}

// Gate delivers the messages of one subscription.
type Gate struct {
	o        Options
	consumer broker.Consumer
	store    dedupe.Store // nil: off
	handler  Handler
	leases   *Leases
	metrics  *Metrics
	counted  counted // with each message
	log      *slog.Logger
	notices  *notices

	places chan *puller  // of who pulls; nil: there is a handler
	ended  chan struct{} // closed: nothing is handed over any more

	slots    *slots                // handler calls
	late     *listeners            // for answers after their time; of a run
	hands    *hands                // of the application: what it has of each queue
	free     *freeReturns          // send-backs that cost no attempt
	app      *door                 // shut while the handler cannot be reached
	unseen   atomic.Pointer[error] // why it could not be, the last time
	pace     *pace                 // slow while most calls fail
	brake    *Brake                // on while no call may begin
	refusals *refusals             // what no broker takes back
	run      string                // names this gate in the IDs of its calls
	calls    atomic.Uint64
	graces   graces
	blocks   blocks // of an ordered subscription

	held, leased atomic.Int64 // messages, now

	mu      sync.Mutex
	brokers map[string]*door // shut while a broker takes nothing back
}

// New makes a gate. store is nil when the subscription has no dedupe, h when its
// messages are pulled (Leases.Receive); leases, metrics and log may be nil.
func New(o Options, c broker.Consumer, store dedupe.Store, h Handler, leases *Leases, m *Metrics, log *slog.Logger) *Gate {
	o = o.withDefaults()
	if leases == nil {
		leases = NewLeases()
	}
	if m == nil {
		m = NewMetrics(nil)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if o.Brake == nil {
		o.Brake = NewBrake(o.Subscription, m)
	}
	g := &Gate{
		o: o, consumer: c, store: store, handler: h, leases: leases, metrics: m, counted: m.ofEach(o.Subscription, o.Store),
		log: log.With("subscription", o.Subscription), notices: newNotices(),
		slots: newSlots(o.Concurrency, o.MaxAttempts), hands: newHands(o.MaxHeld), free: newFreeReturns(), app: newDoor(o.Probe), brake: o.Brake, pace: newPace(o.Probe, o.Concurrency),
		run: strings.ToLower(rand.Text()[:10]), brokers: map[string]*door{}, ended: make(chan struct{}),
		refusals: newRefusals(m.heldUp.WithLabelValues(o.Subscription, string(Refused))),
		graces:   graces{of: map[context.Context]*grace{}}, blocks: blocks{all: map[*held]Blocked{}},
	}
	if h == nil {
		g.places, g.hands.pulled = make(chan *puller), true
	}
	leases.join(g)
	return g
}

// Run consumes until ctx is done; running calls then have Options.Grace to end.
// It returns what Consume returns. It is called once.
func (g *Gate) Run(ctx context.Context) error {
	end := sync.OnceFunc(func() { close(g.ended) })
	defer end()
	defer context.AfterFunc(ctx, end)()
	g.late = newListeners(g.o.Concurrency)
	defer g.late.end()
	return g.consumer.Consume(ctx, g.receive)
}

// reason is why a message may be acked. The zero reason is none.
type reason string

const (
	notYet     reason = ""
	handled    reason = "handled"
	repeat     reason = "repeat"
	sentBack   reason = "sent_back"
	deadLetter reason = "dead_letter"
)

// receive is the broker.Receiver: it returns nil for a reason, or an error when
// ctx is done, and blocks otherwise.
func (g *Gate) receive(ctx context.Context, d *message.Delivery) error {
	g.counted.held.Inc()
	defer g.counted.held.Dec()
	g.held.Add(1)
	defer g.held.Add(-1)
	h := g.hold(d)
	defer h.letGo()
	defer h.unblock()
	defer g.refusals.leave(h)
	for {
		why, wait := h.safeTurn(ctx)
		if why != notYet {
			g.noteEnd(ctx, d, why)
			g.counted.acks.of(string(why)).Inc()
			if why == handled {
				g.counted.took.Observe(time.Since(h.since).Seconds())
			}
			return nil
		}
		if wait > 0 || h.back != nil {
			h.park() // the consumer's concurrency is of calls too
			h.blocking()
		}
		if err := h.rest(ctx, wait); err != nil {
			return fmt.Errorf("message %s stays with the broker: %w", d.Identity, err)
		}
	}
}

func (g *Gate) hold(d *message.Delivery) *held {
	h := &held{g: g, d: d, free: g.free.of(d.Identity), since: time.Now()}
	if g.store != nil {
		h.key, h.effect = g.o.Key.of(g.o.Scope, d), fingerprint(d)
	}
	return h
}

// brokerDoor is the door of the broker that d came from; there are as many as
// brokers.
func (g *Gate) brokerDoor(d *message.Delivery) *door {
	name, _, _ := strings.Cut(d.Queue, "/")
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.brokers[name] == nil {
		g.brokers[name] = newDoor(backoff.Policy{Initial: 2 * askAgain}) // jittered down to half of it
	}
	return g.brokers[name]
}

// notices lets a line through once a minute, so that a storm of failures is
// said and does not fill the disk.
type notices struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newNotices() *notices { return &notices{last: map[string]time.Time{}} }

// due reports whether the line named so may be written. Names are few: kinds
// and statuses.
func (n *notices) due(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last, said := n.last[name]; said && time.Since(last) < time.Minute {
		return false
	}
	n.last[name] = time.Now()
	return true
}
