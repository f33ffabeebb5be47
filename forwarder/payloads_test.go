package forwarder_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// patient answers no attempt until it is told to.
type patient struct {
	*producer
	goOn  chan struct{}
	hangs atomic.Int32
}

func (h *patient) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	h.hangs.Add(1)
	<-h.goOn
	return h.producer.Send(ctx, msgs)
}

// TestWhatWaitsForAnAttemptIsNotInMemory: large messages of many topics wait on disk,
// but for those of which attempts are made.
func TestWhatWaitsForAnAttemptIsNotInMemory(t *testing.T) {
	const topics, size, attempts = 60, 1 << 20, 4
	h := &patient{producer: &producer{}, goOn: make(chan struct{})}
	r := openWith(t, h.producer, spool.Options{})
	body := strings.Repeat("x", size)
	for i := range topics {
		r.accept(spool.Draft{Message: message.Message{Topic: fmt.Sprint("t", i), Body: []byte(body)}})
	}
	before := heap()
	f := forwarder.New(forwarder.Options{Concurrency: attempts, AttemptTimeout: time.Minute}, r.Spool, h, slog.New(slog.DiscardHandler))
	r.run(f)
	for h.hangs.Load() < attempts || r.Ledger().Total.InSpool.InFlight < topics {
		time.Sleep(time.Millisecond)
	}
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

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
