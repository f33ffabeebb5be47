package sql

import (
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

var (
	//go:embed postgres.sql
	postgresSchema string
	//go:embed mysql.sql
	mysqlSchema string
)

// dialect is how a server wants to be asked.
type dialect struct {
	schema  string
	open    func(Options) (*sql.DB, error)
	missing func(error) bool // there is no table

	insert, read, lock, update, finish, apart, isApart, sweep string
	settings                                                  []setting
}

// setting is one of the server on which marks depend.
type setting struct {
	query string
	weak  func(value string) bool
	text  string // what follows from the value
	hint  string
}

// The server's clock, in µs.
const (
	postgresMicros = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
	mysqlMicros    = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
)

// The statements, with ? for what is given and NOW for the clock in µs. What the
// first call of a key needs is in one of them.
const (
	insertRow = "INSERT INTO remora_dedupe (hash, held, claim, token, ends, attempts, effect, done, expires)" +
		" VALUES (?, 1, ?, NOW, NOW / 1000 + ?, 1, ?, ?, NOW / 1000 + ?)"
	readRow   = "SELECT held, claim, token, ends, attempts, effect, done, expires, NOW FROM remora_dedupe WHERE hash = ?"
	lockRow   = readRow + " FOR UPDATE"
	updateRow = "UPDATE remora_dedupe SET held = ?, claim = ?, token = ?, ends = ?, attempts = ?, effect = ?, done = ?, expires = ? WHERE hash = ?"
	// apartRow is of a content by itself, whose row may be there.
	apartRow  = "INSERT INTO remora_dedupe (hash, held, claim, token, ends, attempts, effect, done, expires) VALUES (?, 0, 0, 0, 0, 0, ?, ?, ?)"
	isApart   = "SELECT count(*) FROM remora_dedupe WHERE hash = ? AND done = ? AND expires > NOW / 1000"
	finishRow = "UPDATE remora_dedupe SET held = 0, attempts = 0, done = effect, expires = NOW / 1000 + ?" +
		" WHERE hash = ? AND token = ? AND length(done) = 0 AND expires > NOW / 1000"
)

var dialects = map[string]*dialect{
	Postgres: {
		schema: postgresSchema, open: openPostgres, missing: isPostgres("42P01"),
		insert: dollars(insertRow + " ON CONFLICT (hash) DO NOTHING"), read: dollars(readRow), lock: dollars(lockRow), update: dollars(updateRow), finish: dollars(finishRow),
		apart: dollars(apartRow + " ON CONFLICT (hash) DO UPDATE SET done = EXCLUDED.done, expires = EXCLUDED.expires"), isApart: dollars(isApart),
		sweep: dollars("DELETE FROM remora_dedupe WHERE hash IN (SELECT hash FROM remora_dedupe WHERE expires < NOW / 1000 LIMIT ? FOR UPDATE SKIP LOCKED)"),
		settings: []setting{
			{"SHOW fsync", func(v string) bool { return v != "on" }, "PostgreSQL has fsync %s: a crash may forget marks, and break the database", "set fsync on"},
			{"SHOW synchronous_commit", func(v string) bool { return v == "off" }, "PostgreSQL has synchronous_commit %s: a crash forgets the last marks, and their messages may be handled again", "set synchronous_commit on"},
		},
	},
	MySQL: {
		schema: mysqlSchema, open: openMySQL, missing: isMySQL(1146),
		// DIV, because / of MySQL is not of whole numbers.
		insert: marks(insertRow + " ON DUPLICATE KEY UPDATE hash = VALUES(hash)"), read: marks(readRow), lock: marks(lockRow), update: marks(updateRow), finish: marks(finishRow),
		apart: marks(apartRow + " ON DUPLICATE KEY UPDATE done = VALUES(done), expires = VALUES(expires)"), isApart: marks(isApart),
		sweep: marks("DELETE FROM remora_dedupe WHERE expires < NOW / 1000 ORDER BY expires LIMIT ?"),
		settings: []setting{
			{"SELECT @@innodb_flush_log_at_trx_commit", func(v string) bool { return v != "1" }, "the server has innodb_flush_log_at_trx_commit %s: a power loss forgets the last marks, and their messages may be handled again", "set innodb_flush_log_at_trx_commit to 1"},
		},
	},
}

// dollars writes a statement for PostgreSQL.
func dollars(statement string) string {
	statement = strings.ReplaceAll(statement, "NOW", postgresMicros)
	for n := 1; strings.Contains(statement, "?"); n++ {
		statement = strings.Replace(statement, "?", fmt.Sprintf("$%d", n), 1)
	}
	return statement
}

// marks writes a statement for MySQL.
func marks(statement string) string {
	statement = strings.ReplaceAll(statement, "NOW / 1000", "NOW DIV 1000")
	return strings.ReplaceAll(statement, "NOW", mysqlMicros)
}

// The errors do not repeat the DSN, nor what a parser says of it: both may show
// the password.
var (
	errPostgresDSN = errors.New("the DSN cannot be read: write postgres://user:password@host:5432/database?sslmode=verify-full, with what is no letter or digit in the password percent-encoded")
	errMySQLDSN    = errors.New("the DSN cannot be read: write user:password@tcp(host:3306)/database?tls=true")
)

func openPostgres(o Options) (*sql.DB, error) {
	c, err := pgx.ParseConfig(o.DSN)
	if err != nil || o.DSN == "" {
		return nil, errPostgresDSN
	}
	c.ConnectTimeout = o.Timeout
	// No statement is prepared: poolers between us and the server may be in the way.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	return stdlib.OpenDB(*c), nil
}

func openMySQL(o Options) (*sql.DB, error) {
	c, err := mysql.ParseDSN(o.DSN)
	if err != nil || o.DSN == "" || c.DBName == "" {
		return nil, errMySQLDSN
	}
	c.Timeout, c.ReadTimeout, c.WriteTimeout = o.Timeout, o.Timeout, o.Timeout
	c.InterpolateParams, c.ClientFoundRows = true, false
	c.RejectReadOnly = true // of one that was the primary, the connections are given up
	if c.Params == nil {
		c.Params = map[string]string{}
	}
	c.Params["autocommit"] = "1"  // a server may have it off: then what was answered for is not committed
	c.Logger = &mysql.NopLogger{} // callers get it as an error
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, errMySQLDSN
	}
	return sql.OpenDB(connector), nil
}

func isPostgres(code string) func(error) bool {
	return func(err error) bool {
		var e *pgconn.PgError
		return errors.As(err, &e) && e.Code == code
	}
}

func isMySQL(number uint16) func(error) bool {
	return func(err error) bool {
		var e *mysql.MySQLError
		return errors.As(err, &e) && e.Number == number
	}
}
