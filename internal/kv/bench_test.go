package kv

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkCommit measures durable commits of 1 KiB by concurrent writers,
// with the memtable of production.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db := openTest(b, Options{Dir: b.TempDir()})
			q := Attach(db, record{})
			value := make([]byte, 1024)
			random := rand.NewChaCha8([32]byte{})
			_, _ = random.Read(value)
			var next atomic.Uint64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for i := next.Add(1); i <= uint64(b.N); i = next.Add(1) {
						pair := &pair{key: binary.BigEndian.AppendUint64(nil, i), value: value}
						if err := q.Commit(b.Context(), pair, 8+1024); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			s := db.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
			b.ReportMetric(float64(s.Ops)/float64(s.Commits), "ops/commit")
			b.ReportMetric(float64(s.TotalSync.Microseconds())/float64(s.Commits), "µs/sync")
		})
	}
}

type pair struct{ key, value []byte }

type record struct{}

func (record) Write(tx *Tx, ops []*pair) error {
	for _, p := range ops {
		tx.Set(p.key, p.value)
	}
	return nil
}

func (record) Synced([]*pair) {}
