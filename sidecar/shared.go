package sidecar

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/redis"
	"github.com/remora-mq/remora/dedupe/sql"
)

// SharedStore is a dedupe store of several sidecars.
type SharedStore interface {
	dedupe.Store
	// Within is the same store for those who keep marks for another window.
	Within(window time.Duration) dedupe.Store
	// Inspect says what the server's settings mean for marks; an error: it is not
	// there, or lets nobody in.
	Inspect(ctx context.Context) ([]dedupe.Weakness, error)
	// Failing reports whether the last call got no answer.
	Failing() bool
}

// sharedStores are those that a subscription uses, by the word of the configuration.
type sharedStores map[string]SharedStore

// openShared makes the stores. None is connected to: one that is down holds its
// messages, and nothing else.
func openShared(cfg config.Config, known secrets) (sharedStores, error) {
	stores := sharedStores{}
	for _, sub := range cfg.Subscriptions {
		name := sub.Dedupe.Store
		if _, is := stores[name]; is || !sub.Dedupe.Shared() {
			continue
		}
		store, err := openSharedStore(name, cfg.Dedupe, known)
		if err != nil {
			return nil, errors.Join(err, stores.close())
		}
		stores[name] = store
	}
	return stores, nil
}

func openSharedStore(name string, c config.Dedupe, known secrets) (SharedStore, error) {
	if name == config.DedupeSQL {
		store, err := sql.Open(sqlOptions(c, known))
		if err != nil {
			return nil, fmt.Errorf("dedupe.sql.dsn_file %s: %w", c.SQL.DSNFile, err)
		}
		return store, nil
	}
	store, err := redis.Open(redisOptions(c, known))
	if err != nil {
		return nil, fmt.Errorf("dedupe.redis.url_file %s: %w", c.Redis.URLFile, err)
	}
	return store, nil
}

func sqlOptions(c config.Dedupe, known secrets) sql.Options {
	return sql.Options{Driver: c.SQL.Driver, DSN: known.sqlDSN, Window: c.Window.Std(), Timeout: c.Timeout.Std()}
}

func redisOptions(c config.Dedupe, known secrets) redis.Options {
	return redis.Options{URL: known.redisURL, TLS: known.redisTLS, Window: c.Window.Std(), Timeout: c.Timeout.Std()}
}

// OpenShared makes the shared dedupe stores of a configuration, by name. It reads
// the files of secrets. The caller closes them.
func OpenShared(cfg config.Config) (map[string]SharedStore, error) {
	known, err := readSecrets(cfg)
	if err != nil {
		return nil, err
	}
	return openShared(cfg, known)
}

func (all sharedStores) failing() bool {
	for _, store := range all {
		if store.Failing() {
			return true
		}
	}
	return false
}

func (all sharedStores) close() error {
	var failed []error
	for _, store := range all {
		failed = append(failed, store.Close())
	}
	return errors.Join(failed...)
}

// store is the one that a subscription asks, for its window; nil: none.
func (s *Sidecar) store(c config.SubscriptionDedupe) dedupe.Store {
	switch {
	case c.Shared():
		return s.parts.shared[c.Store].Within(c.Window.Std())
	case c.Store == config.DedupeLocal:
		return s.parts.marks.Within(c.Window.Std())
	}
	return nil
}

// scope keeps the keys of two groups apart. In a shared store an embedded broker
// is one of many, each known by its spool.
func (s *Sidecar) scope(c config.Subscription) string {
	cluster := s.cluster()
	if c.Dedupe.Shared() && s.cfg.Broker.Type == config.BrokerEmbedded {
		cluster += ":" + s.parts.spool.ID().String()
	}
	return cluster + "/" + c.Topic + "/" + c.Group
}

// askAgain is how often a store that fails is asked whether it is back, for the
// operator: gates ask by themselves.
const askAgain = 5 * time.Second

// inspectShared looks at the shared stores while the sidecar runs.
func (s *Sidecar) inspectShared(ctx context.Context) {
	if len(s.parts.shared) == 0 {
		return
	}
	s.parts.inspecting = s.parts.start(ctx, "dedupe stores", func(ctx context.Context) error {
		tick := time.NewTicker(askAgain)
		defer tick.Stop()
		told := map[string]bool{}
		for {
			for name, store := range s.parts.shared {
				if !told[name] || store.Failing() {
					told[name] = s.inspect(ctx, name, store, told[name])
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	})
}

// inspect says once what keeps a store from keeping marks, and returns whether
// that was said.
func (s *Sidecar) inspect(ctx context.Context, name string, store SharedStore, told bool) bool {
	weak, err := store.Inspect(ctx)
	if err != nil || told {
		return told
	}
	for _, w := range weak {
		s.log.Warn("dedupe store: "+w.Text, "store", name, "hint", w.Hint)
	}
	s.log.Info("dedupe store answers", "store", name)
	return true
}

// redisTLS reads the certificates; nil: none is named.
func redisTLS(c config.Redis) (*tls.Config, error) {
	if c.CAFile == "" && c.CertFile == "" {
		return nil, nil //nolint:nilnil // the URL says whether there is TLS
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read dedupe.redis.ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read dedupe.redis.ca_file: %s has no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read dedupe.redis.cert_file and key_file: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
