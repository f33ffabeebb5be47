package sql

import (
	"fmt"
	"time"
)

// Drivers.
const (
	Postgres = "postgres"
	MySQL    = "mysql" // and MariaDB
)

// Options of a Store.
type Options struct {
	// Driver is Postgres or MySQL.
	Driver string
	// DSN is where the database is and who we are there, in the form of the driver:
	// postgres://user:password@host:5432/database?sslmode=verify-full, or
	// user:password@tcp(host:3306)/database?tls=true. It holds a secret, and is
	// never part of an error.
	DSN string
	// Window is how long a mark is kept after it was last changed; 0: 24 h, at
	// least 1 s.
	Window time.Duration
	// Timeout bounds one operation, repeats over broken connections included;
	// 0: 2 s.
	Timeout time.Duration
	// Connections bounds those that are open at a time; 0: 16.
	Connections int
	// SweepEvery is how often rows whose window has passed are deleted; 0:
	// Window/8, at most an hour.
	SweepEvery time.Duration
}

func (o Options) withDefaults() Options {
	setDefault(&o.Window, 24*time.Hour)
	setDefault(&o.Timeout, 2*time.Second)
	setDefault(&o.Connections, 16)
	setDefault(&o.SweepEvery, min(o.Window/8, time.Hour))
	return o
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func (o Options) check() error {
	if o.Window != 0 && o.Window < time.Second {
		return fmt.Errorf("a window of %v is below 1s", o.Window)
	}
	return nil
}
