package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// TestMainJob: everything that a killed and started pair of sidecars accepted,
// over a broker and a name server that are killed too, was handled as it was
// sent, and nothing else.
func TestMainJob(t *testing.T) {
	seed := testscale.PrintedSeed(t)
	messages, laps := testscale.Between(10_000, 40_000), testscale.Between(1, 5)
	limit := time.Duration(testscale.Between(4, 15)) * time.Minute
	ctx, began := within(t, limit), time.Now()
	on := topics{plain: "job-plain", keyed: "job-keyed", large: "job-large", sentBack: "job-sent-back"}
	createTopics(t, on.all()...)
	r := newRig(t, temper(seed, on), jobSubscriptions(on, on.sentBack)...)
	r.start(t)

	outages := r.outages(seed, laps)
	plan := makePlan(seed, messages, len(outages), on)
	for i, outage := range outages {
		must(t, r.round(ctx, seed+uint64(i), plan[i], outage))
		t.Logf("round %d of %d, kills of %s: %+v", i+1, len(outages), strings.Join(names(outage), " and "), r.facts.look())
	}
	r.handled(ctx, t)
	r.balanced(ctx, t)
	r.countSuppressed()
	keyed := copies(t, on.keyed)
	wrong := append(r.facts.verdict(r.consuming.Name()), r.facts.disorder(keyed)...)
	wrong = append(wrong, r.facts.strangers(keyed)...)
	if len(wrong) > 0 {
		t.Error(briefly(wrong))
	}
	if n := r.facts.look().accepted; n != messages {
		t.Errorf("%d messages accepted, %d planned", n, messages)
	}
	samples := r.facts.samples(on)
	for s, id := range samples {
		wantFound(t, s, id)
	}
	t.Log(r.summary(seed, keyed, len(samples), time.Since(began)))
}

// temper is how the handler behaves.
func temper(seed uint64, on topics) func(*visit) answer {
	moody, stubborn := moody(seed), stubborn(seed)
	return func(v *visit) answer {
		if v.r.URL.Path == "/"+on.sentBack {
			return stubborn(v)
		}
		return moody(v)
	}
}

// jobSubscriptions retries one topic, if any, after 10 s: too long to be waited
// for in place twice, so those messages go back to the broker.
func jobSubscriptions(on topics, patient string) (all []subscription) {
	for _, topic := range on.all() {
		s := subscription{topic: topic, timeout: handlerTimeout.String(), retry: "{initial: 100ms, max: 1s}"}
		if topic == patient {
			s.retry = "{initial: 10s, max: 10s}"
		}
		all = append(all, s)
	}
	return all
}

// outages are sets of nodes that are killed in one round, in an order that
// follows from the seed. Within a set the producing sidecar is the last one, and
// the consuming one the first: what others wait for ends with them.
func (r *rig) outages(seed uint64, laps int) (all [][]node) {
	var p, c, b, n node = r.producing, counted{r}, shared.Brokers[0], shared.NameServers[0]
	for lap := range uint64(laps) {
		all = append(all, shuffled(seed+lap, [][]node{
			{p}, {c}, {b}, {n}, {b, p}, {c, n}, {c, p}, {c, b, n},
		})...)
	}
	return all
}

// round posts a round of the plan and has an outage in the middle of it.
func (r *rig) round(ctx context.Context, seed uint64, lists [][]job, nodes []node) error {
	random := rand.New(rand.NewPCG(seed, 3))
	var victims []victim
	for _, n := range nodes {
		v := victim{n, r.facts.afterAccepts(1 + random.IntN(size(lists)*3/4))}
		if _, consumes := n.(counted); consumes {
			v.at = r.facts.afterCalls(1+random.IntN(100), r.facts.look().accepted+size(lists))
		}
		victims = append(victims, v)
	}
	posted := make(chan error, 1)
	go func() { posted <- r.app.round(ctx, seed, lists) }()
	failed := r.facts.outage(ctx, time.Duration(random.IntN(1500))*time.Millisecond, victims)
	if err := <-posted; err != nil {
		return err
	}
	return failed
}

// size is how many messages the lists hold that are to be accepted.
func size(lists [][]job) (n int) {
	for _, list := range lists {
		for _, j := range list {
			if j[0].refusal == 0 {
				n += len(j)
			}
		}
	}
	return n
}

func names(nodes []node) (all []string) {
	for _, n := range nodes {
		all = append(all, n.Name())
	}
	return all
}

// samples is one message of each topic, with a tag and keys to be seen.
func (h *history) samples(on topics) map[*spec]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	samples, have := map[*spec]string{}, map[string]bool{on.large: true} // mqadmin prints the body
	for id, s := range h.accepted {
		if !have[s.topic] && s.tag != "" && len(s.keys) > 0 {
			have[s.topic], samples[s] = true, id
		}
	}
	return samples
}

// summary is the block of counts.
func (r *rig) summary(seed uint64, keyed []stored, samples int, took time.Duration) string {
	n := r.facts.look()
	killed := map[string]int{}
	for _, k := range r.facts.kills {
		killed[k.name]++
	}
	distinct := len(firstAppearances(keyed))
	var text strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&text, "  %-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&text, "main job, seed %d, %d s\n", seed, int(took.Seconds()))
	line("accepted", "%d messages; %d batches; %d waited for SEND_OK", n.accepted, n.batches, n.waited)
	line("refused", "%d requests, and %d that broke off; none appeared", n.refused, n.torn)
	line("posted again", "%d without an answer, %d told to wait; %d answered as replays", n.noAnswer, n.busy, n.replays)
	line("handled", "%d, in %d calls, of which %d failed on purpose", n.handled, n.calls, n.failed)
	line("repeats", "%d calls after a 200, each explained by a kill; at least %d deliveries suppressed", r.facts.countRepeated(), r.suppressed)
	line("at the broker", "%d keyed messages in %d lanes, %d copies; %d samples found by unique key", distinct, len(r.facts.lanes), len(keyed), samples)
	line("killed", "%v", killed)
	return text.String()
}
