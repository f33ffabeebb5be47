package embedded

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// benchConsumer opens a broker, and a consumer of it with 16 workers.
func benchConsumer(b *testing.B) (*Broker, broker.Consumer) {
	b.Helper()
	e, err := Open(b.Context(), Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	s := sub()
	s.Concurrency = 16
	c, err := e.Consumer(s)
	if err != nil {
		b.Fatal(err)
	}
	return e, c
}

// BenchmarkSend: 1 KiB messages one by one from 64 goroutines, consumed at the
// same time.
func BenchmarkSend(b *testing.B) {
	e, c := benchConsumer(b)
	defer e.Close()
	ctx, cancel := context.WithCancel(b.Context())
	handled := make(chan struct{}, 1<<20)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Consume(ctx, func(context.Context, *message.Delivery) error {
			handled <- struct{}{}
			return nil
		})
	}()
	p := e.Producer()
	var n atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m := msg(int(n.Add(1)))
			m.Body = make([]byte, 1024)
			if _, err := p.Send(ctx, []*message.Message{m}); err != nil {
				b.Error(err)
			}
		}
	})
	sent := b.Elapsed()
	for range n.Load() {
		<-handled
	}
	b.ReportMetric(float64(n.Load())/sent.Seconds(), "sent/s")
	b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "handled/s")
	cancel()
	<-ended
}

// BenchmarkConsume: 1 KiB messages that are all there, by 16 workers that do nothing
// with them.
func BenchmarkConsume(b *testing.B) {
	e, c := benchConsumer(b)
	defer e.Close()
	p := e.Producer()
	batch := make([]*message.Message, 0, 64)
	for i := range b.N {
		m := msg(i)
		m.Body = make([]byte, 1024)
		if batch = append(batch, m); len(batch) == cap(batch) || i == b.N-1 {
			if _, err := p.Send(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var n atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	err := c.Consume(ctx, func(context.Context, *message.Delivery) error {
		if n.Add(1) == int64(b.N) {
			cancel()
		}
		return nil
	})
	if err != nil {
		b.Error(err)
	}
}
