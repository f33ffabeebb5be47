package spool_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

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

func appendFrom(b *testing.B, r *rig, callers int) {
	body := bytes.Repeat([]byte{'x'}, 1<<10)
	work := make(chan struct{}, callers)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range work {
				if _, err := r.Append(b.Context(), []spool.Draft{{Message: message.Message{Topic: "t", Body: body}}}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.SetBytes(1 << 10)
	b.ReportAllocs()
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
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
