package redis

import (
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe/dedupetest"
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
			n := uint64(b.N)
			dedupetest.Deliver(b, s, 0, n)
			b.ReportAllocs()
			b.ResetTimer()
			ours, theirs := dedupetest.ProcessorTime(b), serverTime(b, client)
			dedupetest.Deliver(b, s, n, 2*n)
			b.StopTimer()
			perMessage := func(t time.Duration) float64 { return float64(t.Nanoseconds()) / float64(b.N) }
			b.ReportMetric(perMessage(dedupetest.ProcessorTime(b)-ours), "cpu-ns/op")
			b.ReportMetric(perMessage(serverTime(b, client)-theirs), "server-cpu-ns/op")
		})
	}
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
