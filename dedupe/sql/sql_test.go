package sql

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/dedupetest"
	"github.com/remora-mq/remora/test/server"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// The first that asks makes the table, and its index, also when they are many.
func TestTableIsMadeOnDemand(t *testing.T) {
	index := map[string]string{
		Postgres: "SELECT count(*) FROM pg_indexes WHERE indexname = 'remora_dedupe_expires'",
		MySQL:    "SELECT count(*) FROM information_schema.statistics WHERE index_name = 'remora_dedupe_expires'",
	}
	each(t, func(t *testing.T, _ *server.Server, o Options) {
		var all sync.WaitGroup
		for i := range 8 {
			s := open(t, o)
			all.Go(func() {
				if _, err := s.Begin(t.Context(), dedupe.Key{Key: fmt.Sprint(i)}, effect, time.Minute); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		var n int
		if err := open(t, o).db.QueryRowContext(t.Context(), index[o.Driver]).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d indexes, %v", n, err)
		}
	})
}

// A server that commits nothing by itself keeps what was answered for all the same.
func TestServerWithoutAutocommit(t *testing.T) {
	k := kinds["MariaDB"] // PostgreSQL has no such setting
	o := Options{Driver: k.driver, DSN: k.dsn(k.start(t).Addr())}
	exec(t, open(t, o).db, "SET GLOBAL autocommit = 0")
	s := open(t, o)
	if err := s.Done(t.Context(), key, begin(t, s, key)); err != nil {
		t.Fatal(err)
	}
	if m := begin(t, open(t, o), key); m.Verdict != dedupe.Repeat {
		t.Errorf("to another sidecar: %v", m.Verdict)
	}
}

func TestLostAnswerIsAskedForAgain(t *testing.T) {
	each(t, func(t *testing.T, s *server.Server, o Options) {
		proxy := server.NewProxy(t, s)
		o.DSN = strings.Replace(o.DSN, s.Addr(), proxy.Addr(), 1)
		o.Connections = 1
		dedupetest.LostAnswers(t, open(t, o), proxy)
	})
}

func TestLeaseOfALostAnswer(t *testing.T) {
	each(t, func(t *testing.T, s *server.Server, o Options) {
		direct, proxy := open(t, o), server.NewProxy(t, s)
		o.DSN = strings.Replace(o.DSN, s.Addr(), proxy.Addr(), 1)
		o.Connections = 1
		dedupetest.LeaseOfALostAnswer(t, open(t, o), proxy, func(d time.Duration) { pass(t, direct.db, d) })
	})
}

// What was answered for is there after kill -9, as often as that happens, and the
// connections that were lost with it cost nothing.
func TestDoneSurvivesKills(t *testing.T) {
	each(t, func(t *testing.T, s *server.Server, o Options) {
		store := open(t, o)
		for round := range 2 {
			recorded := dedupetest.RecordUntilKilled(t, store, s.Kill, round)
			s.Start()
			for _, k := range recorded {
				if m := begin(t, store, k); m.Verdict != dedupe.Repeat {
					t.Fatalf("round %d: %s was recorded: %v", round, k.Key, m.Verdict)
				}
			}
		}
	})
}

func TestDownIsUnavailable(t *testing.T) {
	each(t, func(t *testing.T, s *server.Server, o Options) {
		store := open(t, o)
		m := begin(t, store, key)
		s.Kill()
		if _, err := store.Begin(t.Context(), key, effect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) || !store.Failing() {
			t.Errorf("begin: %v", err)
		}
		if err := store.Done(t.Context(), key, m); !errors.Is(err, dedupe.ErrUnavailable) {
			t.Errorf("done: %v", err)
		}
		s.Start()
		if err := store.Done(t.Context(), key, m); err != nil || store.Failing() {
			t.Errorf("done, back again: %v", err)
		}
	})
}

// Rows whose window has passed are deleted, however many; no others.
func TestSweep(t *testing.T) {
	each(t, func(t *testing.T, _ *server.Server, o Options) {
		s := open(t, o)
		if _, err := s.Inspect(t.Context()); err != nil {
			t.Fatal(err)
		}
		const old = 2*sweepBatch + 1
		rows := make([]string, old)
		for i := range rows {
			rows[i] = fmt.Sprintf("('%016d', 0, 0, 1, 0, 0, '', '', 1)", i)
		}
		exec(t, s.db, "INSERT INTO remora_dedupe (hash, held, claim, token, ends, attempts, effect, done, expires) VALUES "+strings.Join(rows, ","))
		begin(t, s, key)
		if n, err := s.sweep(t.Context()); err != nil || n != old {
			t.Errorf("%d deleted of %d, %v", n, old, err)
		}
		if m := begin(t, s, key); m.Verdict != dedupe.InProgress {
			t.Errorf("the one that lives: %v", m.Verdict)
		}
	})
}

// A store that is open deletes by itself.
func TestSweepGoesOn(t *testing.T) {
	each(t, func(t *testing.T, _ *server.Server, o Options) {
		o.SweepEvery = 20 * time.Millisecond
		s := open(t, o)
		begin(t, s, key)
		pass(t, s.db, 48*time.Hour)
		for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			var n int
			if err := s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM remora_dedupe").Scan(&n); err != nil || time.Since(began) > time.Minute {
				t.Fatalf("%d rows, %v", n, err)
			}
			if n == 0 {
				return
			}
		}
	})
}

// TestFailoverIsFollowed: the address leads to another server, and the one before takes no
// marks any more. It keeps the connections that there were; they are given up, or all that
// is asked over them would be refused for as long as there is something to ask.
func TestFailoverIsFollowed(t *testing.T) {
	k := kinds["MariaDB"] // PostgreSQL becomes a replica by a restart
	former, next := k.start(t), k.start(t)
	proxy := server.NewProxy(t, former)
	s := open(t, Options{Driver: k.driver, DSN: k.dsn(proxy.Addr()), Connections: 4, Timeout: 8 * time.Second})
	begun := begin(t, s, key)
	proxy.Move(next)
	operator := strings.Replace(k.dsn(former.Addr()), "remora", "operator", 1)
	exec(t, open(t, Options{Driver: k.driver, DSN: operator}).db, "SET GLOBAL read_only = 1")
	if m, err := s.Begin(t.Context(), dedupe.Key{Key: "another"}, effect, time.Minute); err != nil || m.Verdict != dedupe.Begun {
		t.Errorf("begin: %v, %v", m.Verdict, err)
	}
	if err := s.Done(t.Context(), key, begun); !errors.Is(err, dedupe.ErrFenced) { // the other never had it
		t.Errorf("done: %v", err)
	}
	exec(t, open(t, Options{Driver: k.driver, DSN: strings.Replace(k.dsn(next.Addr()), "remora", "operator", 1)}).db, "SET GLOBAL read_only = 1")
	if _, err := s.Begin(t.Context(), dedupe.Key{Key: "a third"}, effect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("where all are read-only: %v", err)
	}
}

// Who holds a mark that the server has lost is fenced by the next one.
func TestLostMarkFencesItsHolder(t *testing.T) {
	each(t, func(t *testing.T, _ *server.Server, o Options) {
		s := open(t, o)
		former := begin(t, s, key)
		exec(t, s.db, "DELETE FROM remora_dedupe")
		if m := begin(t, s, key); m.Token <= former.Token {
			t.Errorf("token %d after %d", m.Token, former.Token)
		}
		if err := s.Done(t.Context(), key, former); !errors.Is(err, dedupe.ErrFenced) {
			t.Errorf("done: %v, want fenced", err)
		}
	})
}

func TestInspect(t *testing.T) {
	weaken := map[string]string{
		Postgres: "ALTER ROLE remora SET synchronous_commit = off",
		MySQL:    "SET GLOBAL innodb_flush_log_at_trx_commit = 2",
	}
	each(t, func(t *testing.T, s *server.Server, o Options) {
		store := open(t, o)
		if weak, err := store.Inspect(t.Context()); err != nil || len(weak) != 0 {
			t.Fatalf("as it is: %v, %v", weak, err)
		}
		exec(t, store.db, weaken[o.Driver])
		weak, err := open(t, o).Inspect(t.Context())
		if err != nil || len(weak) != 1 || !strings.Contains(weak[0].Text, "commit") {
			t.Errorf("weakened: %v, %v", weak, err)
		}
		s.Kill()
		if _, err := store.Inspect(t.Context()); !errors.Is(err, dedupe.ErrUnavailable) {
			t.Errorf("down: %v", err)
		}
	})
}

func TestBadOptionsAreNotShown(t *testing.T) {
	for _, o := range []Options{
		{Driver: Postgres},
		{Driver: Postgres, DSN: "postgres://u:geheim%zz@h/d"},
		{Driver: Postgres, DSN: "password=geheim port=x"},
		{Driver: MySQL},
		{Driver: MySQL, DSN: "u:geheim@h/d"},
		{Driver: MySQL, DSN: "u:geheim@tcp(h)/"},
		{Driver: "oracle", DSN: "geheim"},
		{Driver: Postgres, DSN: "postgres://u@h/d", Window: time.Millisecond},
	} {
		s, err := Open(o)
		if err == nil {
			_ = s.Close()
			t.Errorf("%+v is taken", o)
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", o.Driver, err)
		}
	}
}
