package redis

import (
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/dedupetest"
	"github.com/remora-mq/remora/test/server"
)

func TestMain(m *testing.M) {
	// What go-redis leaves behind when it could not dial: it looks for its end once
	// a second (internal/pool/pool.go, tryDial).
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// open opens a store that is closed with the test.
func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func urlOf(s *server.Server) string { return "redis://" + s.Addr() }

var (
	key    = dedupe.Key{Scope: "cluster/orders/billing", Key: "order-1"}
	effect = dedupe.Fingerprint{1}
)

func begin(t *testing.T, s *Store) dedupe.Mark {
	t.Helper()
	m, err := s.Begin(t.Context(), key, effect, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestContract(t *testing.T) { holdsContract(t, open) }

// holdsContract runs the contract on stores that are opened in a way.
func holdsContract(t *testing.T, opened func(*testing.T, Options) *Store) {
	t.Helper()
	redis := server.Redis(t)
	client := clientOf(t, redis)
	dedupetest.Run(t, func(t *testing.T) *dedupetest.Instance {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		o := Options{URL: urlOf(redis), Window: 10 * time.Hour}
		s := opened(t, o)
		return &dedupetest.Instance{
			Within: s.Within,
			Store:  s, Window: o.Window, Advance: func(d time.Duration) { pass(t, client, d) },
			Reopen: func() dedupe.Store { return opened(t, o) },
			Second: func() dedupe.Store { return opened(t, o) },
		}
	})
}

func clientOf(t *testing.T, s *server.Server) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr()})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// shift moves a mark's times to where they are after ARGV[1] ms.
var shift = goredis.NewScript(`
local left = redis.call('PTTL', KEYS[1]) - tonumber(ARGV[1])
if left <= 0 then
	return redis.call('DEL', KEYS[1])
end
return redis.call('PEXPIRE', KEYS[1], left)`)

// pass lets time pass for all that the server knows, where its clock cannot be
// set: what is left of every lease and every time to live is less by d.
func pass(t *testing.T, c *goredis.Client, d time.Duration) {
	t.Helper()
	ctx := t.Context()
	keys, err := c.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if err := shift.Run(ctx, c, []string{key}, d.Milliseconds()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}
