package embedded

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		crashChild(dir) // until it is killed
	}
	// The conformance suite waits more than it works.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait for something that has to happen.
const patience = time.Minute

func open(t *testing.T, opts Options) *Broker {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	b, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// reopen closes b and opens its directory again.
func reopen(t *testing.T, b *Broker) *Broker {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, b.opts)
}

var spoolID = message.SpoolID{1, 2, 3, 4, 5}

func msg(n int) *message.Message {
	return &message.Message{
		ID: message.NewID(spoolID, 1, uint64(n), time.UnixMilli(1_700_000_000_000)), Seq: uint64(n),
		Topic: "orders", Body: fmt.Appendf(nil, "body %d", n),
	}
}

func msgs(from, to int) (out []*message.Message) {
	for n := from; n < to; n++ {
		out = append(out, msg(n))
	}
	return out
}

// send expects SEND_OK.
func send(t *testing.T, b *Broker, m ...*message.Message) []message.Confirmation {
	t.Helper()
	p := b.Producer()
	defer p.Close()
	c, err := p.Send(t.Context(), m)
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	return c
}

// sub is a subscription of group g to the topic of msg.
func sub() broker.Subscription {
	return broker.Subscription{Name: "s", Topic: "orders", Group: "g", Concurrency: 4}
}

// running is a Consume in a goroutine.
type running struct {
	broker.Consumer
	t      *testing.T
	got    chan *message.Delivery
	cancel context.CancelFunc
	ended  chan error
}

// consume passes deliveries to got and then does what receive says; nil: acks.
func consume(t *testing.T, b *Broker, sub broker.Subscription, receive broker.Receiver) *running {
	t.Helper()
	c, err := b.Consumer(sub)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Consumer: c, t: t, got: make(chan *message.Delivery, 1<<16), cancel: cancel, ended: make(chan error, 1)}
	go func() {
		r.ended <- c.Consume(ctx, func(ctx context.Context, d *message.Delivery) error {
			if receive == nil {
				r.got <- d
				return nil
			}
			defer func() { r.got <- d }()
			return receive(ctx, d)
		})
	}()
	t.Cleanup(func() { r.cancel() })
	return r
}

func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Fatalf("Consume = %v", err)
		}
	case <-time.After(patience):
		r.t.Fatal("Consume did not end")
	}
}

func (r *running) next() *message.Delivery {
	r.t.Helper()
	select {
	case d := <-r.got:
		return d
	case <-time.After(patience):
		r.t.Fatal("nothing was delivered")
		return nil
	}
}

// take waits for n deliveries and returns how often each ID came.
func (r *running) take(n int) map[message.ID]int {
	r.t.Helper()
	seen := map[message.ID]int{}
	for range n {
		seen[r.next().ID]++
	}
	return seen
}

// quiet expects that nothing more comes.
func (r *running) quiet() {
	r.t.Helper()
	select {
	case d := <-r.got:
		r.t.Fatalf("delivered message %s, attempt %d, although nothing should come", d.ID, d.Attempt)
	case <-time.After(100 * time.Millisecond):
	}
}

// eventually waits for the stats to be as wanted.
func eventually(t *testing.T, b *Broker, what string, ok func(Stats) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(b.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so after %s: %+v", what, patience, b.Stats())
		}
	}
}

func each(ids map[message.ID]int, times int) error {
	for id, n := range ids {
		if n != times {
			return fmt.Errorf("message %s came %d times, want %d", id, n, times)
		}
	}
	return nil
}

// gathered is a set that receivers fill.
type gathered struct {
	mu  sync.Mutex
	ids map[message.ID]int
}

func (g *gathered) add(id message.ID) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ids == nil {
		g.ids = map[message.ID]int{}
	}
	g.ids[id]++
	return g.ids[id]
}
