package e2e

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// TestRollingRestart: under load both members of a group that shares a Redis are
// stopped with SIGTERM and started again, one after the other, several times. Each
// message is called for once, in the order of its key where that is asked, and acked
// after its 200.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	seed := testscale.PrintedSeed(t)
	rounds := testscale.Between(3, 40)
	ctx := within(t, time.Duration(3+rounds)*time.Minute)
	on := topics{plain: "rolling-plain", keyed: "rolling-keyed", large: "rolling-plain", sentBack: "rolling-plain"}
	createTopics(t, on.plain, on.keyed)
	p := newPair(t, seed, inRedis, func(v *visit) answer { return after(time.Duration(v.draw(seed, 40))*time.Millisecond, done) },
		subscription{topic: on.plain, timeout: handlerTimeout.String(), retry: "{initial: 100ms, max: 1s}"},
		subscription{topic: on.keyed, timeout: handlerTimeout.String(), retry: "{initial: 100ms, max: 1s}", more: "ordered: true"})
	p.start(t)
	watch, err := newCustody(p.facts, on.plain, on.keyed)
	must(t, err)
	end := watching(ctx, watch)
	post := p.traffic(ctx, on)
	random := rand.New(rand.NewPCG(seed, 6))
	for range rounds {
		for _, member := range p.members {
			must(t, p.calls(ctx, member, 20+random.IntN(50)))
			must(t, member.Stop())
			must(t, pause(ctx, time.Duration(random.IntN(500))*time.Millisecond))
			must(t, member.Start())
		}
	}
	for _, member := range p.members {
		must(t, p.calls(ctx, member, 20))
	}
	must(t, post())
	must(t, p.facts.progress(ctx))
	must(t, level(ctx, on.plain, on.keyed))
	end()
	must(t, watch.look())
	if wrong := append(p.verdict(), p.facts.overtaken(on.keyed, never)...); len(wrong) > 0 {
		t.Error(briefly(wrong))
	}
	n := p.facts.look()
	if n.calls != n.accepted {
		t.Errorf("%d calls for %d messages", n.calls, n.accepted)
	}
	t.Logf("%d rounds: %d messages, calls %v, none twice", rounds, n.accepted, p.facts.by)
}

// calls waits for so many more calls by a member.
func (p *pair) calls(ctx context.Context, member *sidecar, n int) error {
	p.facts.mu.Lock()
	goal := p.facts.by[member.Name()] + n
	p.facts.mu.Unlock()
	return p.facts.await(ctx, "the "+member.Name()+" calls", func() bool { return p.facts.by[member.Name()] >= goal })
}
