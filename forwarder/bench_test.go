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

	"github.com/remora-mq/remora/broker"
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
// from the disk to their confirmation by a broker that answers at once: of one topic,
// of as many topics and ordering keys that each has a thousand and ten, and of these
// beside a topic that the broker has not, with three messages for two of theirs.
func BenchmarkDrain(b *testing.B) {
	one := func(int, int) message.Message { return message.Message{Topic: "t"} }
	many := func(i, of int) message.Message {
		return message.Message{Topic: fmt.Sprint("t", i%max(of/1000, 1)), OrderingKey: fmt.Sprint("key-", i%max(of/10, 1))}
	}
	beside := func(i, of int) message.Message {
		if i%5%2 == 0 {
			return message.Message{Topic: stuck}
		}
		return many(i/5*2+i%5/2, of)
	}
	b.Run("one topic", func(b *testing.B) { benchmarkDrain(b, b.N, one) })
	b.Run("many topics and keys", func(b *testing.B) { benchmarkDrain(b, b.N, many) })
	b.Run("beside a stuck topic", func(b *testing.B) { benchmarkDrain(b, (b.N*5+1)/2, beside) })
}

// stuck is a topic that the broker has not.
const stuck = "stuck"

func benchmarkDrain(b *testing.B, messages int, draft func(i, of int) message.Message) {
	dir := b.TempDir()
	db, s := openBench(b, dir)
	fill(b, s, messages, draft)
	closeBench(b, db, s)
	db, s = openBench(b, dir)
	p := &counting{left: int64(b.N), none: make(chan struct{})}
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	measure(b, db, func() {
		running.Go(func() { run(ctx, b, s, p) })
		<-p.none
	})
	stop()
	running.Wait()
	b.ReportMetric(float64(b.N)/float64(p.attempts.Load()), "msg/attempt")
	closeBench(b, db, s)
}

// counting is a broker that tells when it has confirmed so many messages.
type counting struct {
	atOnce

	left     int64
	none     chan struct{}
	attempts atomic.Int64
}

func (c *counting) SendTo(ctx context.Context, _ string, msgs []*message.Message) ([]message.Confirmation, error) {
	return c.Send(ctx, msgs)
}

func (c *counting) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	if msgs[0].Topic == stuck {
		return nil, &broker.SendError{Outcome: message.OutcomeRetryable, Status: "TOPIC_NOT_EXIST", Parked: true}
	}
	c.attempts.Add(1)
	if n := int64(len(msgs)); atomic.AddInt64(&c.left, -n) <= 0 {
		defer close(c.none)
	}
	return c.atOnce.Send(ctx, msgs)
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
	running.Go(func() { run(ctx, b, s, atOnce{}) })
	return func() {
		if err := s.Drained(b.Context()); err != nil {
			b.Error(err)
		}
		stop()
		running.Wait()
	}
}

func run(ctx context.Context, b *testing.B, s *spool.Spool, p broker.Producer) {
	if err := forwarder.New(forwarder.Options{}, s, p, slog.New(slog.DiscardHandler)).Run(ctx); err != nil {
		b.Error(err)
	}
}

// fill appends messages, as many in an append as come in one commit of a busy
// sidecar.
func fill(b *testing.B, s *spool.Spool, messages int, draft func(i, of int) message.Message) {
	body := bytes.Repeat([]byte{'x'}, 1<<10)
	for i := 0; i < messages; {
		drafts := make([]spool.Draft, 0, 32)
		for ; i < messages && len(drafts) < cap(drafts); i++ {
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
