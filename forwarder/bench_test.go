package forwarder_test

import (
	"bytes"
	"context"
	"errors"
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
	db, s := openBench(b, b.TempDir())
	measure(b, db, func() {
		drained := forward(b, s)
		publish(b, s, callers)
		drained()
	})
	closeBench(b, db, s)
}

// BenchmarkDrain measures messages of 1 KiB that a former process has accepted,
// from the disk to the record of their confirmation by a broker that answers at
// once: of one topic, and of as many topics and ordering keys that each has a
// thousand and ten.
func BenchmarkDrain(b *testing.B) {
	for name, draft := range map[string]func(i, of int) message.Message{
		"one topic": func(int, int) message.Message { return message.Message{Topic: "t"} },
		"many topics and keys": func(i, of int) message.Message {
			return message.Message{Topic: fmt.Sprint("t", i%max(of/1000, 1)), OrderingKey: fmt.Sprint("key-", i%max(of/10, 1))}
		},
	} {
		b.Run(name, func(b *testing.B) { benchmarkDrain(b, draft) })
	}
}

func benchmarkDrain(b *testing.B, draft func(i, of int) message.Message) {
	dir := b.TempDir()
	db, s := openBench(b, dir)
	fill(b, s, draft)
	closeBench(b, db, s)
	db, s = openBench(b, dir)
	measure(b, db, func() { forward(b, s)() })
	closeBench(b, db, s)
}

func openBench(b *testing.B, dir string) (*kv.DB, *spool.Spool) {
	db, err := kv.Open(b.Context(), kv.Options{Dir: filepath.Join(dir, "db")})
	if err != nil {
		b.Fatal(err)
	}
	s, err := spool.Open(b.Context(), db, spool.Options{Dir: dir, Limit: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	return db, s
}

func closeBench(b *testing.B, db *kv.DB, s *spool.Spool) {
	if err := errors.Join(s.Close(), db.Close()); err != nil {
		b.Error(err)
	}
}

// measure reports what do costs for each of b.N messages.
func measure(b *testing.B, db *kv.DB, do func()) {
	b.ReportAllocs()
	b.ResetTimer()
	used, before := processorTime(b), db.Stats()
	do()
	b.StopTimer()
	used, after := processorTime(b)-used, db.Stats()
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/float64(after.Commits-before.Commits), "ops/commit")
	b.ReportMetric(float64((after.TotalSync-before.TotalSync).Microseconds())/float64(after.Commits-before.Commits), "µs/commit")
}

// forward starts a forwarder; drained waits until it has sent all, and ends it.
func forward(b *testing.B, s *spool.Spool) (drained func()) {
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := forwarder.New(forwarder.Options{}, s, atOnce{}, slog.New(slog.DiscardHandler)).Run(ctx); err != nil {
			b.Error(err)
		}
	})
	return func() {
		if err := s.Drained(b.Context()); err != nil {
			b.Error(err)
		}
		stop()
		running.Wait()
	}
}

// fill appends b.N messages, as many in an append as come in one commit of a busy
// sidecar.
func fill(b *testing.B, s *spool.Spool, draft func(i, of int) message.Message) {
	body := bytes.Repeat([]byte{'x'}, 1<<10)
	for i := 0; i < b.N; {
		drafts := make([]spool.Draft, 0, 32)
		for ; i < b.N && len(drafts) < cap(drafts); i++ {
			m := draft(i, b.N)
			m.Body = body
			drafts = append(drafts, spool.Draft{Message: m})
		}
		if _, err := s.Append(b.Context(), drafts); err != nil {
			b.Fatal(err)
		}
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

// atOnce is a broker that confirms everything at once; each topic has four queues.
type atOnce struct{}

func (atOnce) Queues(context.Context, string) []string {
	return []string{"null/0", "null/1", "null/2", "null/3"}
}

func (b atOnce) SendTo(ctx context.Context, _ string, msgs []*message.Message) ([]message.Confirmation, error) {
	return b.Send(ctx, msgs)
}

func (atOnce) Instead(string, string) string { return "" }
func (atOnce) Serves(string, string) bool    { return true }

func (atOnce) Send(_ context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	confirmations := make([]message.Confirmation, len(msgs))
	for i, m := range msgs {
		confirmations[i] = message.Confirmation{MessageID: m.ID.String(), OffsetMessageID: "7F00000100002A9F0000000000000000", Queue: "null/0", Offset: int64(m.Seq)}
	}
	return confirmations, nil
}

func (atOnce) Close() error { return nil }
