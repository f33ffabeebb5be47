package dedupetest

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
)

// Deliver writes both marks, begun and done, of the messages with numbers above from
// and up to to, by 64 deliveries at a time.
func Deliver(b *testing.B, s dedupe.Store, from, to uint64) {
	b.Helper()
	var next atomic.Uint64
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

// ProcessorTime is what this process has used so far.
func ProcessorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
