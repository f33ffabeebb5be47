package e2e

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// rig is two sidecars with an application beside each.
type rig struct {
	facts     *history
	app       *producer
	handler   *handler
	producing *sidecar
	consuming *sidecar

	subscriptions string // YAML

	suppressed int // repeats that lives of the consuming sidecar acked without a call
}

// subscription is an entry of the consuming sidecar's configuration.
type subscription struct {
	topic   string
	timeout string
	retry   string // YAML
	more    string // YAML, as ordered: true; may be empty
}

// newRig starts nothing but the handler.
func newRig(t *testing.T, choose func(*visit) answer, subscriptions ...subscription) *rig {
	t.Helper()
	facts := newHistory()
	r := &rig{facts: facts, handler: startHandler(t, facts, choose)}
	var text strings.Builder
	fmt.Fprintln(&text, "subscriptions:")
	for _, s := range subscriptions {
		fmt.Fprintf(&text, "  - {name: %s-app, topic: %s, handler: %q, concurrency: 64, timeout: %s, retry: %s}\n",
			s.topic, s.topic, r.handler.url(s.topic), s.timeout, s.retry)
	}
	r.subscriptions = text.String()
	r.producing = newSidecar(t, "producing sidecar", nameServer(), "")
	r.consuming = newSidecar(t, "consuming sidecar", nameServer(), r.subscriptions)
	r.handler.side = r.consuming
	r.app = newProducer(r.producing, facts)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.state())
		}
		r.app.close()
	})
	return r
}

// state is what both sidecars say of themselves, for a failed test.
func (r *rig) state() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var text strings.Builder
	fmt.Fprintf(&text, "%+v\n", r.facts.look())
	for _, s := range []*sidecar{r.producing, r.consuming} {
		counts, err := s.Get(ctx, s.Addresses().Admin, "/v1/ledger")
		fmt.Fprintf(&text, "ledger of the %s: %s (%v)\n", s.Name(), counts, err)
		metrics, err := s.Get(ctx, s.Addresses().Health, "/metrics")
		fmt.Fprintf(&text, "metrics of the %s (%v):\n", s.Name(), err)
		for line := range strings.Lines(string(metrics)) {
			if shown.MatchString(line) && !strings.Contains(line, "_bucket{") {
				text.WriteString(line)
			}
		}
	}
	return text.String()
}

// shown are the metrics of forwarding and delivering.
var shown = regexp.MustCompile(`^remora_(deliver|acks|forward|dedupe|broker)`)

func (r *rig) start(t *testing.T) {
	t.Helper()
	must(t, r.producing.Start())
	must(t, r.consuming.Start())
}

// counted is the consuming sidecar, where a kill first reads how many repeats
// it has suppressed: its counters die with it.
type counted struct{ *rig }

func (c counted) Name() string { return c.consuming.Name() }
func (c counted) Start() error { return c.consuming.Start() }

func (c counted) Kill() error {
	c.countSuppressed()
	return c.consuming.Kill()
}

func (r *rig) countSuppressed() { r.suppressed += r.consuming.repeats(context.Background()) }

// patience is how long nothing may be handled: a send-back that was refused, by a
// broker that is down, is tried again after a minute.
const patience = 100 * time.Second

// handled waits until everything that was accepted has been handled. On failure
// it tells the story of some of what is missing.
func (r *rig) handled(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := r.facts.progress(ctx); err != nil {
		t.Errorf("%v; %+v", err, r.facts.look())
		for _, id := range r.facts.missing(5) {
			t.Logf("%s", r.app.story(id))
		}
	}
}

func (h *history) progress(ctx context.Context) error {
	for n := h.look(); n.handled < n.accepted; n = h.look() {
		news, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("nothing happens for %v", patience))
		err := h.await(news, "everything accepted is handled", func() bool { return h.n.handled > n.handled })
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// balanced waits until the broker has everything, and then wants a ledger of
// the producing sidecar that balances and counts what the application counted.
func (r *rig) balanced(ctx context.Context, t *testing.T) {
	t.Helper()
	err := r.drained(ctx)
	l, readErr := readLedger(context.WithoutCancel(ctx), r.producing)
	accepted := r.facts.look().accepted
	if err = errors.Join(err, readErr); err != nil || !l.Balanced || l.Total.Accepted != accepted || l.Total.Confirmed != accepted {
		t.Errorf("the application had %d accepted; ledger %+v (%v)", accepted, l, err)
	}
}

func (r *rig) drained(ctx context.Context) error {
	for {
		l, err := readLedger(ctx, r.producing)
		if err != nil || l.held() == 0 {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%d messages are still in the spool: %w", l.held(), err)
		}
	}
}
