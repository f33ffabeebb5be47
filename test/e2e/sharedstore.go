package e2e

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the drivers for lookInTable
	_ "github.com/jackc/pgx/v5/stdlib"
	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

// sharedStore is a dedupe store that the members of a pair share: how it is
// configured, and how its marks are read past them.
type sharedStore struct {
	title    string
	name     string // in the configuration
	settings string // YAML, with the file of the address as %q
	start    func(testing.TB) *server.Server
	address  func(*server.Server) string
	look     func(address string) (*witness, error)
}

// sharedStores are all of them.
var sharedStores = []*sharedStore{inRedis, inPostgres, inMariaDB}

var inRedis = &sharedStore{
	title: "Redis", name: "redis", settings: "redis: {url_file: %q}",
	start:   func(t testing.TB) *server.Server { t.Helper(); return server.Redis(t) },
	address: func(s *server.Server) string { return "redis://" + s.Addr() },
	look:    lookInRedis,
}

var inPostgres = &sharedStore{
	title: "PostgreSQL", name: "sql", settings: "sql: {driver: postgres, dsn_file: %q}",
	start:   server.Postgres,
	address: func(s *server.Server) string { return "postgres://remora@" + s.Addr() + "/postgres" },
	look:    lookInTable("pgx", "$1"),
}

var inMariaDB = &sharedStore{
	title: "MariaDB", name: "sql", settings: "sql: {driver: mysql, dsn_file: %q}",
	start:   server.MariaDB,
	address: func(s *server.Server) string { return "remora:" + server.Password + "@tcp(" + s.Addr() + ")/remora" },
	look:    lookInTable("mysql", "?"),
}

// witness asks a store's server itself for the marks of messages.
type witness struct {
	done func(ctx context.Context, hash [16]byte) (bool, error)
	end  func() error
}

// recorded reports whether the message is marked done for the group; known is false
// where the server does not answer.
func (w *witness) recorded(topic, id string) (is, known bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	key := dedupe.Key{Scope: nameServer() + "/" + topic + "/" + groupOf(topic), Key: "id:" + id}
	is, err := w.done(ctx, key.Hash())
	return is, err == nil
}

func lookInRedis(address string) (*witness, error) {
	o, err := goredis.ParseURL(address)
	if err != nil {
		return nil, err
	}
	o.MaxRetries, o.DialerRetries, o.DialTimeout, o.ReadTimeout = -1, 1, time.Second, time.Second
	client := goredis.NewClient(o)
	const head = 46 // of a mark; what is done is behind it (dedupe/redis/doc.go)
	done := func(ctx context.Context, hash [16]byte) (bool, error) {
		mark, err := client.Get(ctx, "remora:dedupe:"+hex.EncodeToString(hash[:])).Result()
		if errors.Is(err, goredis.Nil) {
			err = nil
		}
		return len(mark) > head, err
	}
	return &witness{done, client.Close}, nil
}

func lookInTable(driver, placeholder string) func(address string) (*witness, error) {
	return func(address string) (*witness, error) {
		db, err := sql.Open(driver, address)
		if err != nil {
			return nil, err
		}
		done := func(ctx context.Context, hash [16]byte) (is bool, err error) {
			err = db.QueryRowContext(ctx, "SELECT length(done) > 0 FROM remora_dedupe WHERE hash = "+placeholder, hash[:]).Scan(&is)
			if errors.Is(err, sql.ErrNoRows) {
				err = nil
			}
			return is, err
		}
		return &witness{done, db.Close}, nil
	}
}

// groupOf is the group that consumes a topic.
func groupOf(topic string) string { return topic + "-app" }
