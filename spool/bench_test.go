package spool_test

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// BenchmarkAppend measures durable accepts of 1 KiB, alone and while a forwarder
// takes the messages away as fast as they come.
func BenchmarkAppend(b *testing.B) {
	for _, drain := range []bool{false, true} {
		for _, callers := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("drain=%v/callers=%d", drain, callers), func(b *testing.B) {
				r := newRigOn(b, spool.Options{Limit: 1 << 40}, kv.Options{})
				stop := func() {}
				if drain {
					stop = r.forwardAll(b)
				}
				appendFrom(b, r, callers)
				stop()
			})
		}
	}
}

// BenchmarkAppendEncrypted is the same with a key; what it costs is the ratio to
// the run without.
func BenchmarkAppendEncrypted(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		for name, keys := range map[string]*keyring.Ring{"plain": nil, "encrypted": ring(1)} {
			b.Run(fmt.Sprintf("callers=%d/%s", callers, name), func(b *testing.B) {
				r := newRigOn(b, spool.Options{Limit: 1 << 40, Keys: keys}, kv.Options{})
				appendFrom(b, r, callers)
			})
		}
	}
}

// BenchmarkTransaction prepares and commits transactions of one message of 1 KiB, while a
// forwarder takes them away; Append beside it is what the ratio is to.
func BenchmarkTransaction(b *testing.B) {
	for _, callers := range []int{16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			r := newRigOn(b, spool.Options{Limit: 1 << 40}, kv.Options{})
			stop := r.forwardAll(b)
			benchmark(b, callers, func(n int64, body []byte) error {
				d := spool.TransactionDraft{
					ID: strconv.FormatInt(n, 16), Check: spool.Check{URL: "http://127.0.0.1:8080/tx", After: time.Hour, Interval: time.Hour, Most: 15},
					Messages: []spool.Draft{{Message: message.Message{Topic: "t", Body: body}}},
				}
				if _, _, err := r.Prepare(b.Context(), d); err != nil {
					return err
				}
				_, err := r.CommitTransaction(b.Context(), d.ID, "application")
				return err
			})
			stop()
		})
	}
}

func appendFrom(b *testing.B, r *rig, callers int) {
	b.Helper()
	benchmark(b, callers, func(_ int64, body []byte) error {
		_, err := r.Append(b.Context(), []spool.Draft{{Message: message.Message{Topic: "t", Body: body}}})
		return err
	})
}

// benchmark has callers bring messages, each with a number.
func benchmark(b *testing.B, callers int, bring func(n int64, body []byte) error) {
	b.Helper()
	body := bytes.Repeat([]byte{'x'}, 1<<10)
	work := make(chan int64, callers)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for n := range work {
				if err := bring(n, body); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.SetBytes(1 << 10)
	b.ReportAllocs()
	began := processorTime(b)
	for n := int64(1); b.Loop(); n++ {
		work <- n
	}
	close(work)
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(processorTime(b)-began)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
}

// processorTime is what this process has used: it tells more than the time that passes
// on a machine that others use, too.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// forwardAll confirms whatever comes.
func (r *rig) forwardAll(b *testing.B) (stop func()) {
	r.accept(draft("t", "first"))
	ctx, cancel := context.WithCancel(b.Context())
	var lane sync.WaitGroup
	lane.Go(func() {
		for {
			leases, err := r.Lease(ctx, "t", spool.LeaseOptions{MaxMessages: 256})
			if err != nil {
				return
			}
			r.confirm(leases)
		}
	})
	return func() {
		if err := r.Drained(b.Context()); err != nil {
			b.Error(err)
		}
		cancel()
		lane.Wait()
	}
}
