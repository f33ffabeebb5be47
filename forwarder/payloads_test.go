package forwarder_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// patient answers no attempt until it is told to, and tells of each that it has.
type patient struct {
	*producer
	goOn  chan struct{}
	hangs chan struct{}
}

func (h *patient) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	h.hangs <- struct{}{}
	<-h.goOn
	return h.producer.Send(ctx, msgs)
}

// leasing is a spool that tells of each batch that was leased.
type leasing struct {
	*spool.Spool
	leased chan struct{}
}

func (s *leasing) Lease(ctx context.Context, topic string, opts spool.LeaseOptions) ([]*spool.Lease, error) {
	leases, err := s.Spool.Lease(ctx, topic, opts)
	if err == nil {
		s.leased <- struct{}{}
	}
	return leases, err
}

// TestWhatWaitsForAnAttemptIsNotInMemory: large messages of many topics wait on disk,
// but for those of which attempts are made.
func TestWhatWaitsForAnAttemptIsNotInMemory(t *testing.T) {
	const topics, size, attempts = 60, 1 << 20, 4
	h := &patient{producer: &producer{}, goOn: make(chan struct{}), hangs: make(chan struct{}, topics)}
	r := openWith(t, h.producer, spool.Options{})
	body := strings.Repeat("x", size)
	for i := range topics {
		r.accept(spool.Draft{Message: message.Message{Topic: fmt.Sprint("t", i), Body: []byte(body)}})
	}
	before := heap()
	s := &leasing{Spool: r.Spool, leased: make(chan struct{}, topics)}
	f := forwarder.New(forwarder.Options{Concurrency: attempts, AttemptTimeout: time.Minute}, s, h, slog.New(slog.DiscardHandler))
	r.run(f)
	receive(s.leased, topics)
	receive(h.hangs, attempts)
	if most, took := uint64(2*attempts*size), heap()-before; int64(took) > int64(most) {
		t.Errorf("%d bytes are in memory, at most %d are right", took, most)
	}
	close(h.goOn)
	r.drained()
	for _, b := range r.bodies() {
		if b != body {
			t.Fatalf("a body of %d bytes was sent", len(b))
		}
	}
	if n := len(r.bodies()); n != topics {
		t.Errorf("%d messages were sent", n)
	}
}

// receive waits for n signals.
func receive(from <-chan struct{}, n int) {
	for range n {
		<-from
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
