package stores

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/redis"
	"github.com/remora-mq/remora/dedupe/sql"
	"github.com/remora-mq/remora/test/server"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// What rocketmq-client-go begins when it is loaded.
		goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run"),
		// What go-redis leaves behind when it could not dial: it looks for its end once
		// a second (internal/pool/pool.go, tryDial).
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// kind is a store, and the server that keeps its marks.
type kind struct {
	start func(t *testing.T) *server.Server
	open  func(s *server.Server) (dedupe.Store, error)
}

// kinds are all that several sidecars may share.
var kinds = map[string]kind{
	"redis": {
		start: func(t *testing.T) *server.Server { t.Helper(); return server.Redis(t) },
		open: func(s *server.Server) (dedupe.Store, error) {
			return redis.Open(redis.Options{URL: "redis://" + s.Addr()})
		},
	},
	"PostgreSQL": {
		start: func(t *testing.T) *server.Server { t.Helper(); return server.Postgres(t) },
		open: func(s *server.Server) (dedupe.Store, error) {
			return sql.Open(sql.Options{Driver: sql.Postgres, DSN: postgresDSN(s)})
		},
	},
	"MariaDB": {
		start: func(t *testing.T) *server.Server { t.Helper(); return server.MariaDB(t) },
		open: func(s *server.Server) (dedupe.Store, error) {
			return sql.Open(sql.Options{Driver: sql.MySQL, DSN: mariaDSN(s)})
		},
	},
}

func postgresDSN(s *server.Server) string { return "postgres://remora@" + s.Addr() + "/postgres" }

func mariaDSN(s *server.Server) string {
	return "remora:" + server.Password + "@tcp(" + s.Addr() + ")/remora"
}

// each runs a test with every kind of store, as two sidecars open it.
func each(t *testing.T, test func(t *testing.T, s *server.Server, stores []dedupe.Store)) {
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := k.start(t)
			stores := make([]dedupe.Store, gates)
			for i := range stores {
				var err error
				if stores[i], err = k.open(s); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := stores[i].Close(); err != nil && !errors.Is(err, dedupe.ErrClosed) {
						t.Error(err)
					}
				})
			}
			test(t, s, stores)
		})
	}
}

// The broker delivers each message twice to each of two sidecars: the handler is
// called once.
func TestGroupCallsOnce(t *testing.T) {
	each(t, func(t *testing.T, _ *server.Server, stores []dedupe.Store) {
		g := newGroup(t, 300)
		g.run(stores...)
		if most, repeated := g.most(); most != 1 || len(g.calls) != g.messages {
			t.Errorf("%d of %d messages were handled, %d of them again, one %d times", len(g.calls), g.messages, repeated, most)
		}
	})
}

// Kills of the store cost at most a call each for a message, and none after its
// 200 was recorded.
func TestGroupThroughKillsOfTheStore(t *testing.T) {
	each(t, func(t *testing.T, s *server.Server, stores []dedupe.Store) {
		const kills = 3
		g := newGroup(t, 400)
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.run(stores...)
		}()
		for range kills {
			g.afterAcks(g.messages * gates * redeliveries / (kills + 2))
			before := g.failures.Load()
			s.Kill()
			for deadline := time.Now().Add(time.Minute); g.failures.Load() == before; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("nobody missed the store")
				}
			}
			s.Start()
		}
		<-done
		most, repeated := g.most()
		if most > 1+kills || len(g.calls) != g.messages {
			t.Errorf("%d of %d messages were handled, one %d times", len(g.calls), g.messages, most)
		}
		t.Logf("%d kills: %d questions without an answer, %d of %d messages handled more than once, at most %d times", kills, g.failures.Load(), repeated, g.messages, most)
	})
}

// While the store is down nothing is handled, and nothing acked.
func TestGroupHoldsWhileTheStoreIsDown(t *testing.T) {
	each(t, func(t *testing.T, s *server.Server, stores []dedupe.Store) {
		g := newGroup(t, 20)
		s.Kill()
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.run(stores...)
		}()
		for deadline := time.Now().Add(time.Minute); g.failures.Load() < 100; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the store was asked %d times in vain", g.failures.Load())
			}
		}
		g.mu.Lock()
		if len(g.calls) != 0 || g.acks != 0 {
			t.Errorf("%d messages were handled, and %d acked", len(g.calls), g.acks)
		}
		g.mu.Unlock()
		s.Start()
		<-done
		if most, _ := g.most(); most != 1 || len(g.calls) != g.messages {
			t.Errorf("%d of %d messages were handled, one %d times", len(g.calls), g.messages, most)
		}
	})
}

// Where it is configured, they are handled without it, and the handler is told.
func TestGroupPassesWhileTheStoreIsDown(t *testing.T) {
	each(t, func(t *testing.T, s *server.Server, stores []dedupe.Store) {
		g := newGroup(t, 20)
		g.pass = true
		s.Kill()
		g.run(stores...)
		for i := range g.messages {
			id := identity(i)
			if g.calls[id] != gates*redeliveries || g.unchecked[id] != g.calls[id] {
				t.Errorf("%s: %d calls, %d say that they are unchecked", id, g.calls[id], g.unchecked[id])
			}
		}
	})
}
