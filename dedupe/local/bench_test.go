package local

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/kv"
)

// BenchmarkMessage measures both marks of a message, by 64 deliveries at a time,
// with the memtable of production, where the window holds so many keys already.
func BenchmarkMessage(b *testing.B) {
	for _, known := range []uint64{0, 100_000} {
		b.Run(fmt.Sprintf("known=%d", known), func(b *testing.B) {
			db, err := kv.Open(b.Context(), kv.Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			s, err := Open(db, Options{Limit: 4 << 30})
			if err != nil {
				b.Fatal(err)
			}
			deliver(b, s, 0, known)
			b.ReportAllocs()
			b.ResetTimer()
			before := processorTime(b)
			deliver(b, s, known, known+uint64(b.N))
			b.StopTimer()
			b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
			if err := s.Close(); err != nil {
				b.Error(err)
			}
			if err := db.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

func deliver(b *testing.B, s dedupe.Store, from, to uint64) {
	next := atomic.Uint64{}
	next.Store(from)
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for n := next.Add(1); n <= to; n = next.Add(1) {
				k := dedupe.Key{Scope: "cluster/orders/billing", Key: fmt.Sprintf("id:%d", n)}
				var f dedupe.Fingerprint
				binary.BigEndian.PutUint64(f[:], n)
				m, err := s.Begin(b.Context(), k, f, time.Minute)
				if err == nil {
					err = s.Done(b.Context(), k, m)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
