package redis

import (
	"errors"
	"fmt"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

// TestLateCopyOfABeginBeginsNothing: a call that went by another connection is answered,
// and its key given back. What comes then over the connection that hung is for nobody:
// it would hold the key for a whole lease, and count an attempt that was none.
func TestLateCopyOfABeginBeginsNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile func(t *testing.T, s *Store, m dedupe.Mark) error
		attempt   int
	}{
		"released": {func(t *testing.T, s *Store, m dedupe.Mark) error {
			return s.Release(t.Context(), key, m, true)
		}, 4},
		"released, not counted": {func(t *testing.T, s *Store, m dedupe.Mark) error {
			return s.Release(t.Context(), key, m, false)
		}, 3},
		"forgotten": {func(t *testing.T, s *Store, m dedupe.Mark) error {
			return s.Forget(t.Context(), key, m)
		}, 1},
		"begun by another and released": {func(t *testing.T, s *Store, m dedupe.Mark) error {
			if err := s.Release(t.Context(), key, m, true); err != nil {
				return err
			}
			return s.Release(t.Context(), key, begin(t, s), true)
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			redis := server.Redis(t)
			client, proxy := clientOf(t, redis), server.NewProxy(t, redis)
			s := open(t, Options{URL: "redis://" + proxy.Addr(), Timeout: 4 * time.Second})
			for range 2 { // the second has the server know the script
				if err := s.Release(t.Context(), key, begin(t, s), true); err != nil {
					t.Fatal(err)
				}
			}
			letGo := proxy.Hold(t, beginScript.hash)
			m := begin(t, s)
			if !proxy.Holds() || m.Verdict != dedupe.Begun || m.Attempt != 3 {
				t.Fatalf("%v, attempt %d, held: %v", m.Verdict, m.Attempt, proxy.Holds())
			}
			if err := tt.meanwhile(t, s, m); err != nil {
				t.Fatal(err)
			}
			before := scriptsRun(t, client)
			letGo()
			waitUntil(t, "the copy has run", func() bool { return scriptsRun(t, client) > before })
			if m := begin(t, s); m.Verdict != dedupe.Begun || m.Attempt != tt.attempt {
				t.Errorf("%v, attempt %d, until in %v; want attempt %d", m.Verdict, m.Attempt, time.Until(m.Until), tt.attempt)
			}
		})
	}
}

// TestLateCopyOfAnExtensionShortensNoLease that was made longer since: another would get
// the key while its holder works.
func TestLateCopyOfAnExtensionShortensNoLease(t *testing.T) {
	redis := server.Redis(t)
	client, proxy := clientOf(t, redis), server.NewProxy(t, redis)
	s := open(t, Options{URL: "redis://" + proxy.Addr(), Timeout: 4 * time.Second})
	m := begin(t, s)
	extend := func(lease time.Duration) {
		if err := s.Extend(t.Context(), key, m, lease); err != nil {
			t.Fatal(err)
		}
	}
	extend(time.Minute) // the script is known
	letGo := proxy.Hold(t, extendScript.hash)
	extend(2 * time.Minute)
	if !proxy.Holds() {
		t.Fatal("nothing is held")
	}
	extend(time.Hour)
	before := scriptsRun(t, client)
	letGo()
	waitUntil(t, "the copy has run", func() bool { return scriptsRun(t, client) > before })
	if m := begin(t, s); m.Verdict != dedupe.InProgress || time.Until(m.Until) < 50*time.Minute {
		t.Errorf("%v, until in %v", m.Verdict, time.Until(m.Until))
	}
}

// TestRefusedConnectionAnswersNothing: one that is open stays logged in when the password
// changes, and keeps its place where there are too many. What it has under way is
// answered, though the other that it was asked over is refused.
func TestRefusedConnectionAnswersNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		user   string
		before []string // settings of the server
		set    []any    // what changes
	}{
		"a password is needed": {"", nil, []any{"requirepass", "new"}},
		"another password":     {":old@", []string{"--requirepass", "old"}, []any{"requirepass", "new"}},
		"too many":             {"", nil, []any{"maxclients", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			redis := server.Redis(t, tt.before...)
			proxy := server.NewProxy(t, redis)
			s := open(t, Options{URL: "redis://" + tt.user + proxy.Addr(), Timeout: 8 * time.Second})
			warm(t, s)
			if err := s.client.Do(t.Context(), append([]any{"config", "set"}, tt.set...)...).Err(); err != nil {
				t.Fatal(err)
			}
			letGo := proxy.Hold(t, "nx")
			errs := make(chan error)
			go func() {
				m, err := s.Begin(t.Context(), dedupe.Key{Key: "another"}, effect, time.Minute)
				if err == nil && m.Verdict != dedupe.Begun {
					err = fmt.Errorf("%v", m.Verdict)
				}
				errs <- err
			}()
			waitUntil(t, "it is held", proxy.Holds)
			waitUntil(t, "the other connection was refused", func() bool { return s.pipe.underWay() == 0 })
			letGo()
			if err := <-errs; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRefusalIsAnAnswer: what the server has against a question ends it, though the copy of
// it that went first hangs.
func TestRefusalIsAnAnswer(t *testing.T) {
	const timeout = 8 * time.Second
	redis := server.Redis(t)
	client, proxy := clientOf(t, redis), server.NewProxy(t, redis)
	s := open(t, Options{URL: "redis://" + proxy.Addr(), Timeout: timeout})
	warm(t, s)
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	proxy.Hold(t, "nx")
	began := time.Now()
	_, err := s.Begin(t.Context(), dedupe.Key{Key: "another"}, effect, time.Minute)
	if took := time.Since(began); !errors.Is(err, dedupe.ErrUnavailable) || !proxy.Holds() || took > timeout*3/4 {
		t.Errorf("%v after %v, held: %v", err, took, proxy.Holds())
	}
}

// scriptsRun is how many runs of scripts the server was asked for.
func scriptsRun(t *testing.T, client *goredis.Client) (n int) {
	t.Helper()
	stats, err := client.InfoMap(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(stats["Commandstats"]["cmdstat_evalsha"], "calls=%d,", &n); err != nil {
		t.Fatal(err)
	}
	return n
}
