package stores

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// group is what two gates of one group share: the messages, which the broker
// delivers to both and again, and the handler.
type group struct {
	t        *testing.T
	messages int
	pass     bool

	mu        sync.Mutex
	calls     map[string]int  // of the handler
	unchecked map[string]int  // of them, those that say so
	handled   map[string]bool // it answered 200
	recorded  map[string]bool // and the store said that this is written
	acks      int
	progress  chan struct{} // one for each ack

	failures atomic.Int64 // questions that the store did not answer
}

func newGroup(t *testing.T, messages int) *group {
	return &group{
		t: t, messages: messages, calls: map[string]int{}, unchecked: map[string]int{}, handled: map[string]bool{}, recorded: map[string]bool{},
		progress: make(chan struct{}, messages*gates*redeliveries),
	}
}

const (
	gates        = 2
	redeliveries = 2 // of each message to each gate
	deliveries   = 16
)

func identity(i int) string { return fmt.Sprintf("message-%d", i) }

// run has every gate get every message, and returns when all are acked.
func (g *group) run(stores ...dedupe.Store) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i, store := range stores {
		gate := ackgate.New(ackgate.Options{
			Subscription: "billing", Scope: "cluster/orders/billing", Concurrency: deliveries, Timeout: 10 * time.Second, Pass: g.pass,
			// Marks of what was handled are tried for about 3 s, longer than a server takes to
			// start: one that is given up holds its message for the rest of a lease.
			Probe: backoff.Policy{Initial: 500 * time.Millisecond, Max: time.Second},
		}, member{g, i}, recorder{store, g}, handler{g}, nil, nil, nil)
		all.Go(func() {
			if err := gate.Run(ctx); err != nil {
				g.t.Errorf("gate %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if g.acks != g.messages*len(stores)*redeliveries {
		g.t.Errorf("%d acks of %d messages, delivered %d times each", g.acks, g.messages, len(stores)*redeliveries)
	}
}

// member is the consumer of one gate. What is acked is delivered again all the
// same: the broker did not hear of it.
type member struct {
	g      *group
	number int
}

func (m member) Consume(ctx context.Context, receive broker.Receiver) error {
	todo := make(chan int)
	var all sync.WaitGroup
	for range deliveries {
		all.Go(func() {
			for i := range todo {
				d := &message.Delivery{Identity: identity(i), Attempt: 1, Queue: "broker-a/0", Group: "billing"}
				d.Topic, d.Body = "orders", []byte(identity(i))
				if err := receive(ctx, d); err == nil {
					m.g.acked(d.Identity)
				}
			}
		})
	}
	order := rand.New(rand.NewPCG(uint64(m.number), 1))
	for range redeliveries {
		for _, i := range order.Perm(m.g.messages) {
			todo <- i
		}
	}
	close(todo)
	all.Wait()
	return nil
}

func (member) SendBack(context.Context, *message.Delivery, broker.SendBack) error {
	return fmt.Errorf("nothing is to be sent back here")
}

func (g *group) acked(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.handled[id] {
		g.t.Errorf("%s is acked, and was never handled", id)
	}
	g.acks++
	g.progress <- struct{}{}
}

// handler is the application of both.
type handler struct{ g *group }

func (h handler) Deliver(_ context.Context, call *push.Call) push.Answer {
	h.g.mu.Lock()
	defer h.g.mu.Unlock()
	id := call.Delivery.Identity
	if h.g.recorded[id] {
		h.g.t.Errorf("%s is handled again after its 200 was recorded", id)
	}
	h.g.calls[id]++
	if call.Unchecked {
		h.g.unchecked[id]++
	}
	h.g.handled[id] = true
	return push.Answer{Disposition: push.Done, Status: 200}
}

// recorder notes what the store says.
type recorder struct {
	dedupe.Store
	g *group
}

func (r recorder) Begin(ctx context.Context, k dedupe.Key, f dedupe.Fingerprint, lease time.Duration) (dedupe.Mark, error) {
	m, err := r.Store.Begin(ctx, k, f, lease)
	if err != nil {
		r.g.failures.Add(1)
	}
	return m, err
}

func (r recorder) Done(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	err := r.Store.Done(ctx, k, m)
	if err != nil {
		r.g.failures.Add(1)
		return err
	}
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.g.recorded[k.Key[len("id:"):]] = true
	return nil
}

// most is the highest number of calls for one message, and how many had more
// than one.
func (g *group) most() (most, repeated int) {
	for _, n := range g.calls {
		most = max(most, n)
		if n > 1 {
			repeated++
		}
	}
	return most, repeated
}

// afterAcks waits for n more.
func (g *group) afterAcks(n int) {
	for range n {
		<-g.progress
	}
}
