package e2e

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// TestOutageFromTheStart: without a name server and a broker both sidecars
// start, and messages are accepted, through kills too. When the cluster comes,
// all of them arrive.
func TestOutageFromTheStart(t *testing.T) {
	const messages, rounds = 400, 3
	seed, ctx := testscale.PrintedSeed(t), within(t, 2*time.Minute)
	on := topics{plain: "outage-plain", keyed: "outage-keyed", large: "outage-large", sentBack: "outage-back"}
	createTopics(t, on.all()...)
	r := newRig(t, moody(seed), jobSubscriptions(on, "")...)
	t.Cleanup(func() { startCluster(t) })
	must(t, r.facts.kill(shared.Brokers[0]))
	must(t, r.facts.kill(shared.NameServers[0]))
	r.start(t)

	plan := makePlan(seed, messages, rounds, on)
	for i := range rounds {
		must(t, r.round(ctx, seed+uint64(i), plan[i], []node{r.producing}))
	}
	must(t, r.facts.kill(r.consuming))
	must(t, r.consuming.Start())
	n := r.facts.look()
	if n.accepted != messages || n.calls != 0 || n.waited != 0 {
		t.Fatalf("without a broker: %+v, want %d accepted and nothing else", n, messages)
	}
	if l, err := readLedger(ctx, r.producing); err != nil || !l.Balanced || l.held() != messages {
		t.Errorf("ledger %+v (%v), want %d held", l, err, messages)
	}

	startCluster(t)
	began := time.Now()
	r.handled(ctx, t)
	r.balanced(ctx, t)
	if wrong := r.facts.verdict(r.consuming.Name()); len(wrong) > 0 {
		t.Error(briefly(wrong))
	}
	t.Logf("%d messages accepted without a cluster, through %d kills, and handled %v after it had started",
		n.accepted, rounds+1, time.Since(began).Round(time.Second))
}

func startCluster(t *testing.T) {
	t.Helper()
	must(t, shared.NameServers[0].Start())
	must(t, shared.Brokers[0].Start())
}
