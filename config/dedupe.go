package config

import "strings"

// Dedupe is the consumers' side.
type Dedupe struct {
	Window  Duration `yaml:"window"`
	Limit   Size     `yaml:"limit"`   // of the local store's marks
	Timeout Duration `yaml:"timeout"` // of one question to a shared store
	Redis   Redis    `yaml:"redis"`
	SQL     SQL      `yaml:"sql"`
}

// Redis is a shared dedupe store.
type Redis struct {
	URLFile  string `yaml:"url_file"`  // redis://user:password@host:6379/0, or rediss:// with TLS
	CAFile   string `yaml:"ca_file"`   // PEM; default: the system's certificates
	CertFile string `yaml:"cert_file"` // PEM, ours
	KeyFile  string `yaml:"key_file"`  // of cert_file
}

// SQL is a shared dedupe store.
type SQL struct {
	Driver  string `yaml:"driver"`   // postgres, or mysql, which MariaDB is, too
	DSNFile string `yaml:"dsn_file"` // postgres://user:password@host:5432/database, or user:password@tcp(host:3306)/database
}

// Dedupe stores and keys.
const (
	DedupeLocal     = "local"
	DedupeRedis     = "redis"
	DedupeSQL       = "sql"
	DedupeOff       = "off"
	DedupeMessageID = "message_id"
)

// Drivers of the store sql.
const (
	SQLPostgres = "postgres"
	SQLMySQL    = "mysql"
)

// What becomes of a message while its shared dedupe store is down.
const (
	DedupeHold = "hold" // it waits
	DedupePass = "pass" // its handler is called without a look-up, and told so
)

// SubscriptionDedupe says by what repeats are recognised.
type SubscriptionDedupe struct {
	Store   string   `yaml:"store"`
	Key     string   `yaml:"key"`
	Window  Duration `yaml:"window"` // default: dedupe.window
	OnError string   `yaml:"on_error"`
}

// Shared reports whether several sidecars use the store.
func (s SubscriptionDedupe) Shared() bool { return s.Store == DedupeRedis || s.Store == DedupeSQL }

func (d Dedupe) problems(p *Problems) {
	p.atLeast("dedupe.window", d.Window, Second)
	p.atLeast("dedupe.limit", d.Limit, MiB)
	p.within("dedupe.timeout", d.Timeout, 10*Millisecond, Minute)
	if d.SQL.Driver != "" {
		p.oneOf("dedupe.sql.driver", d.SQL.Driver, SQLPostgres, SQLMySQL)
	}
	if (d.SQL.Driver == "") != (d.SQL.DSNFile == "") {
		p.addf("dedupe.sql", "a database needs both dedupe.sql.driver and dedupe.sql.dsn_file")
	}
	if (d.Redis.CertFile == "") != (d.Redis.KeyFile == "") {
		p.addf("dedupe.redis.cert_file", "a certificate needs its key, and a key its certificate; set dedupe.redis.cert_file and key_file both, or neither")
	}
}

// problems of a subscription's dedupe; d is what all have in common, and timeout
// that of a handler call.
func (s SubscriptionDedupe) problems(p *Problems, path string, d Dedupe, timeout Duration) {
	name, isProperty := strings.CutPrefix(s.Key, "property:")
	if s.Key != DedupeMessageID && (!isProperty || strings.TrimSuffix(name, "+tag") == "") {
		p.addf(path+".key", "%q is neither message_id, property:NAME nor property:NAME+tag", s.Key)
	}
	if s.Window != d.Window {
		s.ownWindow(p, path+".window", timeout)
	}
	switch s.Store {
	case DedupeLocal, DedupeOff:
		if s.OnError != DedupeHold {
			p.addf(path+".on_error", "the store %s has no server that could be down; leave the key out, or share a store", s.Store)
		}
	case DedupeRedis:
		if d.Redis.URLFile == "" {
			p.addf(path+".store", "redis needs dedupe.redis.url_file: the path of a file that holds redis://user:password@host:6379/0")
		}
		p.oneOf(path+".on_error", s.OnError, DedupeHold, DedupePass)
	case DedupeSQL:
		if d.SQL.DSNFile == "" {
			p.addf(path+".store", "sql needs dedupe.sql.driver, postgres or mysql, and dedupe.sql.dsn_file: the path of a file that holds the DSN")
		}
		p.oneOf(path+".on_error", s.OnError, DedupeHold, DedupePass)
	default:
		p.oneOf(path+".store", s.Store, DedupeLocal, DedupeRedis, DedupeSQL, DedupeOff)
	}
}

// ownWindow refuses one that no store keeps, and one that could end in a call: while
// the handler has a message, its key is held for the window at most.
func (s SubscriptionDedupe) ownWindow(p *Problems, path string, timeout Duration) {
	if s.Store == DedupeOff {
		p.addf(path, "the store off keeps no marks; leave the key out, or choose a store")
		return
	}
	p.atLeast(path, s.Window, Second)
	if s.Window < timeout {
		p.addf(path, "%s is shorter than the subscription's timeout, %s: a key would be free again while its handler is called", s.Window, timeout)
	}
}
