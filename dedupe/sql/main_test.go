package sql

import (
	"database/sql"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/dedupetest"
	"github.com/remora-mq/remora/test/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kinds are the servers that the tests run on.
var kinds = map[string]struct {
	start  func(t testing.TB) *server.Server
	driver string
	dsn    func(addr string) string
}{
	"PostgreSQL": {server.Postgres, Postgres, func(addr string) string { return "postgres://remora@" + addr + "/postgres" }},
	"MariaDB":    {server.MariaDB, MySQL, func(addr string) string { return "remora:" + server.Password + "@tcp(" + addr + ")/remora" }},
}

// each runs a test on every kind of server.
func each(t *testing.T, test func(t *testing.T, s *server.Server, o Options)) {
	t.Helper()
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := k.start(t)
			test(t, s, Options{Driver: k.driver, DSN: k.dsn(s.Addr())})
		})
	}
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

var (
	key    = dedupe.Key{Scope: "cluster/orders/billing", Key: "order-1"}
	effect = dedupe.Fingerprint{1}
)

func begin(t *testing.T, s *Store, k dedupe.Key) dedupe.Mark {
	t.Helper()
	m, err := s.Begin(t.Context(), k, effect, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	each(t, func(t *testing.T, _ *server.Server, o Options) {
		o.Window = 10 * time.Hour
		direct := open(t, o)
		if _, err := direct.Inspect(t.Context()); err != nil {
			t.Fatal(err)
		}
		dedupetest.Run(t, func(t *testing.T) *dedupetest.Instance {
			exec(t, direct.db, "DELETE FROM remora_dedupe")
			again := func() dedupe.Store { return open(t, o) }
			s := open(t, o)
			return &dedupetest.Instance{
				Within: s.Within,
				Store:  s, Window: o.Window, Advance: func(d time.Duration) { pass(t, direct.db, d) }, Reopen: again, Second: again,
			}
		})
	})
}

// pass lets time pass for all that the server knows, where its clock cannot be
// set: what is left of every lease and every window is less by d.
func pass(t *testing.T, db *sql.DB, d time.Duration) {
	t.Helper()
	ms := d.Milliseconds()
	exec(t, db, "UPDATE remora_dedupe SET ends = ends - "+itoa(ms)+", expires = expires - "+itoa(ms))
}
