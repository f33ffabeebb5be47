package redis

import (
	"net"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

// atOnce has a server make another its replica without delay.
var atOnce = []string{"--repl-diskless-sync-delay", "0"}

// follows makes a server the replica of another, and returns when it has what that has.
func follows(t *testing.T, c *goredis.Client, s *server.Server, name string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr())
	if err := c.SlaveOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the replica has the mark", func() bool { return c.Exists(t.Context(), name).Val() == 1 })
}

// TestFailoverIsFollowed: the address leads to another server, and the one before is its
// replica. It keeps the connections that there were, and reads, but takes no mark. What is
// asked over them then is asked where the address leads now.
func TestFailoverIsFollowed(t *testing.T) {
	for name, ask := range map[string]func(t *testing.T, s *Store, k dedupe.Key, m dedupe.Mark) error{
		"done": func(t *testing.T, s *Store, k dedupe.Key, m dedupe.Mark) error { return s.Done(t.Context(), k, m) },
		"extend": func(t *testing.T, s *Store, k dedupe.Key, m dedupe.Mark) error {
			return s.Extend(t.Context(), k, m, time.Hour)
		},
		"release": func(t *testing.T, s *Store, k dedupe.Key, m dedupe.Mark) error {
			return s.Release(t.Context(), k, m, true)
		},
		"forget": func(t *testing.T, s *Store, k dedupe.Key, m dedupe.Mark) error { return s.Forget(t.Context(), k, m) },
		"begin of another": func(t *testing.T, s *Store, _ dedupe.Key, _ dedupe.Mark) error {
			_, err := s.Begin(t.Context(), dedupe.Key{Key: "another"}, effect, time.Minute)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			former, next := server.Redis(t, atOnce...), server.Redis(t, atOnce...)
			proxy := server.NewProxy(t, former)
			s := open(t, Options{URL: "redis://" + proxy.Addr(), Timeout: 8 * time.Second})
			warm(t, s)
			k := dedupe.Key{Scope: key.Scope, Key: "begun before"}
			m, err := s.Begin(t.Context(), k, effect, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			follows(t, clientOf(t, next), former, nameOf(k))
			if err := clientOf(t, next).SlaveOf(t.Context(), "NO", "ONE").Err(); err != nil {
				t.Fatal(err)
			}
			follows(t, clientOf(t, former), next, nameOf(k))
			proxy.Move(next)
			if err := ask(t, s, k, m); err != nil {
				t.Errorf("asked once: %v", err)
			}
		})
	}
}
