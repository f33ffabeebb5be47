package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/test/binary"
	"github.com/remora-mq/remora/test/rocketmq"
)

// queues of each topic on each broker.
const queues = 2

// scene is a sidecar, a cluster, and the links between the two. The brokers
// advertise their links' addresses, so nothing goes past them; their own way to
// the name servers is direct.
type scene struct {
	*rocketmq.Cluster

	side    *binary.Sidecar
	secret  string  // path of the file that the sidecar reads it from
	brokers []*link // of each broker
	names   []*link // of each name server
}

// newScene has a sidecar that is not started; more is YAML of its configuration.
func newScene(t *testing.T, more ...string) *scene {
	t.Helper()
	c, dir := shared, t.TempDir()
	s := &scene{Cluster: c, secret: filepath.Join(dir, "secret")}
	access := filepath.Join(dir, "access")
	must(t, os.WriteFile(access, []byte(user), 0o600))
	must(t, os.WriteFile(s.secret, []byte(secret), 0o600))
	for _, b := range c.Brokers {
		s.brokers = append(s.brokers, newLink(t, b.Name(), b.Advertised(), b.Addr()))
	}
	var addrs []string
	for _, ns := range c.NameServers {
		l := newLink(t, ns.Name(), ns.Spare(), ns.Addr())
		s.names = append(s.names, l)
		_, port, err := net.SplitHostPort(l.at)
		must(t, err)
		addrs = append(addrs, strconv.Quote(net.JoinHostPort("localhost", port))) // by name, as in Kubernetes
	}
	s.side = binary.New(t, "sidecar", fmt.Sprintf(`
broker: {type: rocketmq, rocketmq: {name_servers: [%s], access_key_file: %q, secret_key_file: %q}}
%s`, strings.Join(addrs, ", "), access, s.secret, strings.Join(append(more, forwarding), "")))
	return s
}

// forwarding is quick, so that much goes wrong in little time.
const (
	attemptTimeout = 500 * time.Millisecond
	maxInFlight    = 4 * 4 // messages: concurrency times batch
	forwarding     = `
forwarder: {concurrency: 4, attempt_timeout: 500ms, batch: {max_messages: 4}, retry: {initial: 50ms, max: 400ms}}
drain: {timeout: 1s}`
)

// ledger is the sidecar's account.
type ledger struct {
	Balanced bool
	Total    struct {
		Accepted  int
		Confirmed int
		InSpool   map[string]int `json:"in_spool"`
	}
}

func (s *scene) ledger(ctx context.Context) (l ledger, err error) {
	page, err := s.side.Get(ctx, s.side.Addresses().Admin, "/v1/ledger")
	if err != nil {
		return l, err
	}
	return l, json.Unmarshal(page, &l)
}

// confirmed waits until so many are.
func (s *scene) confirmed(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	await(ctx, t, func() error {
		l, err := s.ledger(ctx)
		if err == nil && l.Total.Confirmed < n {
			err = fmt.Errorf("%d are confirmed, want %d: %+v", l.Total.Confirmed, n, l)
		}
		return err
	})
}

// attempts counts, by the broker's status, those of this life of the sidecar.
func (s *scene) attempts(ctx context.Context, t *testing.T, status string) (n int) {
	t.Helper()
	page, err := s.side.Get(ctx, s.side.Addresses().Health, "/metrics")
	must(t, err)
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "remora_forward_attempts_total{") || !strings.Contains(line, `status="`+status+`"`) {
			continue
		}
		_, value, _ := strings.Cut(line, "} ")
		count, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		must(t, err)
		n += int(count)
	}
	return n
}

// configure changes a line of all brokers' configuration until t ends, or heal
// is called.
func (s *scene) configure(t *testing.T, key, value, normal string) (heal func()) {
	t.Helper()
	set := func(v string) {
		for _, b := range s.Brokers {
			must(t, b.UpdateConfig(key, v))
		}
	}
	set(value)
	t.Cleanup(func() { set(normal) })
	return func() { set(normal) }
}

// await asks until there is no error: what is waited for gives no signal.
func await(ctx context.Context, t *testing.T, check func() error) {
	t.Helper()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(errors.Join(context.Cause(ctx), err))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("not done after %v", limit))
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
