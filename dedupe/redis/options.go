package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options of a Store.
type Options struct {
	// URL is where Redis is and who we are there: redis://user:password@host:6379/0,
	// rediss:// with TLS, unix:///path.sock?db=0. It holds a secret, and is never
	// part of an error.
	URL string
	// TLS is used with rediss://; nil: the system's certificates, no own one.
	TLS *tls.Config
	// Window is how long a mark is kept after it was last changed; 0: 24 h, at
	// least 1 s.
	Window time.Duration
	// Timeout bounds one question, the wait for its pipeline and repeats over broken
	// connections included; 0: 2 s. Begin asks a second one for a key that has a mark.
	Timeout time.Duration
	// Connections bounds those that are open at a time; 0: 64.
	Connections int
}

func (o Options) withDefaults() Options {
	setDefault(&o.Window, 24*time.Hour)
	setDefault(&o.Timeout, 2*time.Second)
	setDefault(&o.Connections, 64)
	return o
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// errURL does not repeat the URL, nor what the parser says of it: both may show
// the password.
var errURL = errors.New("the URL of Redis cannot be read: write redis://user:password@host:6379/0, rediss:// with TLS, or unix:///path.sock, with what is no letter or digit in the password percent-encoded")

// client makes what connects when it is first used.
func (o Options) client() (*goredis.Client, error) {
	c, err := goredis.ParseURL(o.URL)
	if err != nil {
		return nil, errURL
	}
	if o.TLS != nil && c.TLSConfig != nil {
		own := o.TLS.Clone()
		if own.ServerName == "" {
			own.ServerName = c.TLSConfig.ServerName
		}
		c.TLSConfig = own
	}
	c.ContextTimeoutEnabled = true
	c.DialTimeout, c.ReadTimeout, c.WriteTimeout = o.Timeout, o.Timeout, o.Timeout
	c.PoolSize, c.PoolTimeout = o.Connections, o.Timeout
	c.DialerRetries, c.MaxRetries = 1, 2
	// What a user of the access control may not be allowed, and marks do not need.
	c.DisableIdentity = true
	c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return goredis.NewClient(c), nil
}

// silent keeps the library from writing to stderr what the caller gets as an
// error.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { goredis.SetLogger(silent{}) } //nolint:gochecknoinits // the library has one logger a process

func checkWindow(window time.Duration) error {
	if window != 0 && window < time.Second {
		return fmt.Errorf("a window of %v is below 1s", window)
	}
	return nil
}
