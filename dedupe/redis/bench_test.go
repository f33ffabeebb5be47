package redis

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

// BenchmarkMessage measures both marks of a message, by 64 deliveries at a time:
// what it takes of our processor time, and of the server's.
func BenchmarkMessage(b *testing.B) {
	for _, fsync := range []string{"always", "everysec"} {
		b.Run(fsync, func(b *testing.B) {
			redis := server.Redis(b, "--appendfsync", fsync)
			s, err := Open(Options{URL: urlOf(redis)})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			client := goredis.NewClient(&goredis.Options{Addr: redis.Addr()})
			defer client.Close()
			deliver(b, s, uint64(b.N), 1)
			b.ReportAllocs()
			b.ResetTimer()
			ours, theirs := processorTime(b), serverTime(b, client)
			deliver(b, s, uint64(b.N), 2)
			b.StopTimer()
			perMessage := func(t time.Duration) float64 { return float64(t.Nanoseconds()) / float64(b.N) }
			b.ReportMetric(perMessage(processorTime(b)-ours), "cpu-ns/op")
			b.ReportMetric(perMessage(serverTime(b, client)-theirs), "server-cpu-ns/op")
		})
	}
}

func deliver(b *testing.B, s dedupe.Store, messages uint64, round int) {
	var next atomic.Uint64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for n := next.Add(1); n <= messages; n = next.Add(1) {
				k := dedupe.Key{Scope: "cluster/orders/billing", Key: fmt.Sprintf("id:%d:%d", round, n)}
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
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func serverTime(b *testing.B, c *goredis.Client) (used time.Duration) {
	b.Helper()
	info, err := c.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if seconds, err := strconv.ParseFloat(value, 64); err == nil && (name == "used_cpu_sys" || name == "used_cpu_user") {
			used += time.Duration(seconds * float64(time.Second))
		}
	}
	return used
}
