package local

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/remora-mq/remora/dedupe/dedupetest"
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
			s, err := Open(db, Options{Limit: 4 << 30, Journal: filepath.Join(b.TempDir(), "begun")})
			if err != nil {
				b.Fatal(err)
			}
			dedupetest.Deliver(b, s, 0, known)
			b.ReportAllocs()
			b.ResetTimer()
			before := dedupetest.ProcessorTime(b)
			dedupetest.Deliver(b, s, known, known+uint64(b.N))
			b.StopTimer()
			b.ReportMetric(float64((dedupetest.ProcessorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
			if err := s.Close(); err != nil {
				b.Error(err)
			}
			if err := db.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}
