package httpapi

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func draftsOf(names ...string) (all []spool.Draft) {
	for _, name := range names {
		all = append(all, spool.Draft{Message: message.Message{Topic: name}})
	}
	return all
}

func TestRatesOfTopics(t *testing.T) {
	limits := newTopics(Options{TopicRates: map[string]float64{"slow": 2, "fast": 100}})
	now := time.Unix(1000, 0)
	take := func(drafts []spool.Draft) *problem.Problem {
		err := limits.admit(drafts, now)
		if p := (*problem.Problem)(nil); errors.As(err, &p) {
			return p
		}
		return nil
	}
	for range 2 {
		if p := take(draftsOf("slow")); p != nil {
			t.Fatal(p)
		}
	}
	p := take(draftsOf("fast", "slow"))
	if p == nil || p.Code != problem.RateLimited || p.Status != 429 || !p.Retryable || p.Stored != problem.StoredNo || p.RetryAfter < time.Second || p.RetryAfter > time.Minute {
		t.Fatalf("a third within a second: %+v", p)
	}
	fast := draftsOf(make([]string, 100)...)
	for i := range fast {
		fast[i].Topic = "fast"
	}
	if p := take(fast); p != nil {
		t.Errorf("what was refused took of another topic's rate: %v", p)
	}
	if p := take(draftsOf("any", "any", "any")); p != nil {
		t.Errorf("a topic without a rate: %v", p)
	}
	now = now.Add(time.Second)
	if p := take(draftsOf("slow", "slow", "slow")); p != nil {
		t.Errorf("more than a second's, after a second of nothing: %v", p)
	}
	if p := take(draftsOf("slow")); p == nil {
		t.Error("the larger batch cost nothing")
	}
}

// Connections, the tables of the spool, and an eighth for all else are no more than the
// files that the process may open.
func TestConnectionsLeaveFilesForTheSpool(t *testing.T) {
	for _, files := range []uint64{64, 1024, 4096, 20_000, 40_000, 1 << 20} {
		if n := uint64(mostConns(files)); n == 0 || n+kv.MostTables(files)+files/8 > files {
			t.Errorf("of %d files %d are for connections, %d for tables", files, n, kv.MostTables(files))
		}
	}
	if n := mostConns(math.MaxUint64); n != math.MaxInt {
		t.Errorf("without a limit: %d", n)
	}
}
