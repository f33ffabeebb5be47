package forwarder_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// BenchmarkForward measures messages of 1 KiB with a dedupe key each, from their
// accept to the record of their confirmation by a broker that answers at once:
// above all what processor time one takes.
func BenchmarkForward(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchmarkForward(b, callers) })
	}
}

func benchmarkForward(b *testing.B, callers int) {
	dir := b.TempDir()
	db, err := kv.Open(b.Context(), kv.Options{Dir: filepath.Join(dir, "db")})
	if err != nil {
		b.Fatal(err)
	}
	s, err := spool.Open(b.Context(), db, spool.Options{Dir: dir, Limit: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := forwarder.New(forwarder.Options{}, s, atOnce{}, slog.New(slog.DiscardHandler)).Run(ctx); err != nil {
			b.Error(err)
		}
	})
	b.ReportAllocs()
	b.ResetTimer()
	used, before := processorTime(b), db.Stats()
	publish(b, s, callers)
	if err := s.Drained(b.Context()); err != nil {
		b.Error(err)
	}
	b.StopTimer()
	used, after := processorTime(b)-used, db.Stats()
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/float64(after.Commits-before.Commits), "ops/commit")
	b.ReportMetric(float64((after.TotalSync-before.TotalSync).Microseconds())/float64(after.Commits-before.Commits), "µs/commit")
	stop()
	running.Wait()
	if err := s.Close(); err != nil {
		b.Error(err)
	}
	if err := db.Close(); err != nil {
		b.Error(err)
	}
}

// publish appends b.N messages, from so many callers that each wait for their own.
func publish(b *testing.B, s *spool.Spool, callers int) {
	body := bytes.Repeat([]byte{'x'}, 1<<10)
	var next atomic.Int64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				d := spool.Draft{Message: message.Message{Topic: "t", Body: body}, DedupeKey: fmt.Sprint("order-", n)}
				if _, err := s.Append(b.Context(), []spool.Draft{d}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// atOnce is a broker that confirms everything at once.
type atOnce struct{}

func (atOnce) Send(_ context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	confirmations := make([]message.Confirmation, len(msgs))
	for i, m := range msgs {
		confirmations[i] = message.Confirmation{MessageID: m.ID.String(), OffsetMessageID: "7F00000100002A9F0000000000000000", Queue: "null/0", Offset: int64(m.Seq)}
	}
	return confirmations, nil
}

func (atOnce) Close() error { return nil }
