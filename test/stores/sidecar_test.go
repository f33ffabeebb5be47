package stores

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
	"github.com/remora-mq/remora/test/server"
)

// run starts a sidecar with the embedded broker, which ends with the test.
func run(t *testing.T, c config.Config) *sidecar.Sidecar {
	t.Helper()
	side, err := sidecar.New(c, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- side.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-side.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("ended before it was ready: %v", err)
	}
	return side
}

// shared is a configuration with one subscription that uses a shared store.
func shared(t *testing.T, store, handler string) config.Config {
	t.Helper()
	c := config.Default()
	c.Broker.Type = config.BrokerEmbedded
	c.Spool.Dir = filepath.Join(t.TempDir(), "data")
	c.Listen = config.Listen{Data: []string{"127.0.0.1:0"}, Admin: "127.0.0.1:0", Health: "127.0.0.1:0"}
	c.Drain.Timeout = 5 * config.Second
	c.Subscriptions = []config.Subscription{{
		Name: "billing", Topic: "orders", Handler: handler,
		Dedupe: config.SubscriptionDedupe{Store: store, Key: "property:order"},
	}}
	return c
}

func secret(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// application collects what it is called with.
type application chan http.Header

func newApplication(t *testing.T) (application, string) {
	t.Helper()
	app := make(application, 100)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { app <- r.Header }))
	t.Cleanup(s.Close)
	return app, s.URL
}

func (app application) called(t *testing.T) http.Header {
	t.Helper()
	select {
	case h := <-app:
		return h
	case <-time.After(time.Minute):
		t.Fatal("the handler is not called")
		return nil
	}
}

func (app application) quiet(t *testing.T) {
	t.Helper()
	select {
	case h := <-app:
		t.Errorf("the handler is called: %v", h)
	default:
	}
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}

func publish(t *testing.T, side *sidecar.Sidecar, order string) {
	t.Helper()
	url := fmt.Sprintf("http://%s/v1/topics/orders/messages?prop.order=%s", side.Addresses().Data[0], order)
	res, err := client.Post(url, "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		t.Fatalf("publish: %s", res.Status)
	}
}

// says waits until the page has the text.
func says(t *testing.T, url, text string) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		res, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if last = string(b); strings.Contains(last, text) {
			return
		}
	}
	t.Fatalf("%s does not say %q, but: %s", url, text, last)
}

// TestSidecarUsesTheSharedStore: a repeat is acked without a call, what comes
// while the store is down waits and is told, and comes with it; two sidecars with
// embedded brokers of their own are two clusters.
func TestSidecarUsesTheSharedStore(t *testing.T) {
	for name, start := range sharedServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app, url := newApplication(t)
			c := shared(t, name, url)
			s := start(t, &c)
			side := run(t, c)
			metrics := "http://" + side.Addresses().Health + "/metrics"
			publish(t, side, "1")
			app.called(t)
			publish(t, side, "1")
			says(t, metrics, `remora_acks_total{reason="repeat",subscription="billing"} 1`)
			app.quiet(t)

			s.Kill()
			publish(t, side, "2")
			says(t, metrics, `remora_degraded{reason="dedupe-store"} 1`)
			app.quiet(t)
			s.Start()
			app.called(t)
			says(t, metrics, `remora_degraded{reason="dedupe-store"} 0`)

			elsewhere, otherURL := newApplication(t)
			c.Spool.Dir, c.Subscriptions = filepath.Join(t.TempDir(), "data"), []config.Subscription{c.Subscriptions[0]}
			c.Subscriptions[0].Handler = otherURL
			publish(t, run(t, c), "1")
			elsewhere.called(t)
		})
	}
}

func TestSidecarPassesTheSharedStoreByWhereConfigured(t *testing.T) {
	for name, start := range sharedServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app, url := newApplication(t)
			c := shared(t, name, url)
			c.Subscriptions[0].Dedupe.OnError = config.DedupePass
			s := start(t, &c)
			s.Kill()
			side := run(t, c) // one that is down is no reason not to start
			publish(t, side, "1")
			if got := app.called(t).Get("MQ-Dedupe"); got != "unchecked" {
				t.Errorf("MQ-Dedupe: %q", got)
			}
			says(t, "http://"+side.Addresses().Health+"/metrics", `remora_deliver_unchecked_total{subscription="billing"} 1`)
		})
	}
}

// sharedServers start the server of a store, and have the configuration name it.
var sharedServers = map[string]func(t *testing.T, c *config.Config) *server.Server{
	config.DedupeRedis: func(t *testing.T, c *config.Config) *server.Server {
		t.Helper()
		s := server.Redis(t)
		c.Dedupe.Redis.URLFile = secret(t, "redis://"+s.Addr())
		return s
	},
	config.DedupeSQL: func(t *testing.T, c *config.Config) *server.Server {
		t.Helper()
		s := server.Postgres(t)
		c.Dedupe.SQL = config.SQL{Driver: config.SQLPostgres, DSNFile: secret(t, postgresDSN(s))}
		return s
	},
}
