package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// held is the set of messages that the handler does not answer.
type held struct {
	mu      sync.Mutex
	ids     map[string]place
	release chan struct{} // closed when they are to be answered
}

func (h *held) add(id string, at place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids[id] = at
}

func (h *held) choose(v *visit) answer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, is := h.ids[v.id]; is {
		return until(h.release, done)
	}
	return done
}

// TestNotAckedBeforeIts200 has the handler keep messages: all of one topic, and
// one in each queue of another, at the queue's begin, middle and end. As long as
// they have no 200, the broker's offset must not pass them, and after a kill -9
// each of them must come again: to the same sidecar, and to one that lost its
// volume.
func TestNotAckedBeforeIts200(t *testing.T) {
	const all, some, each = "held-all", "held-some", 9
	seed, ctx := testscale.PrintedSeed(t), within(t, 3*time.Minute)
	createTopics(t, all, some)
	kept := &held{ids: map[string]place{}, release: make(chan struct{})}
	subscriptions := []subscription{
		{topic: all, timeout: "10m", retry: "{initial: 100ms, max: 1s}"},
		{topic: some, timeout: "10m", retry: "{initial: 100ms, max: 1s}"},
	}
	r := newRig(t, kept.choose, subscriptions...)
	must(t, r.producing.Start())
	bounds := keep(ctx, t, r, kept, fill(ctx, t, r, seed, all, some, each), some)

	must(t, r.consuming.Start())
	must(t, r.facts.await(ctx, "all but the kept are handled, and those called for", func() bool {
		return r.facts.n.handled == r.facts.n.accepted-len(kept.ids) && r.facts.calledFor(kept.ids, 1)
	}))
	watchOffsets(ctx, t, bounds)

	must(t, r.facts.kill(r.consuming))
	must(t, r.consuming.Start())
	must(t, r.facts.await(ctx, "all that was kept came again", func() bool { return r.facts.calledFor(kept.ids, 2) }))
	if wrong := r.facts.verdictBut(r.consuming.Name(), kept.ids); len(wrong) > 0 {
		t.Error(briefly(wrong))
	}

	must(t, r.facts.kill(r.consuming))
	other := newSidecar(t, "consuming sidecar with an empty volume", nameServer(), r.subscriptions)
	must(t, other.Start())
	must(t, r.facts.await(ctx, "all that was kept came to the new sidecar", func() bool { return r.facts.calledFor(kept.ids, 3) }))
	wantOffsets(t, bounds)
	close(kept.release)
	r.handled(ctx, t)
	for b := range bounds {
		top, err := shared.Brokers[0].MaxOffset(b.topic, b.queue)
		must(t, err)
		bounds[b] = top
	}
	if err := reach(ctx, bounds); err != nil {
		t.Errorf("after all 200s: %v", err)
	}
	t.Logf("kept %d of %d messages for %v: no offset passed one, each came again after each of 2 kills", len(kept.ids), r.facts.look().accepted, heldFor)
}

// fill posts to both topics until each queue holds some, and tells where they
// are.
func fill(ctx context.Context, t *testing.T, r *rig, seed uint64, all, some string, each int) map[string]place {
	t.Helper()
	for n, posts := 0, 2*queues*each; n == 0 || !filled(t, all, some); posts = 2 {
		var jobs []job
		for end := n + posts; n < end; n++ {
			s := &spec{number: n, seed: seed, size: 100 + n}
			s.topic = []string{all, some}[n%2]
			jobs = append(jobs, job{s})
		}
		must(t, r.app.round(ctx, seed, [][]job{jobs}))
		must(t, r.drained(ctx))
	}
	places := map[string]place{}
	for id := range r.facts.accepted {
		p, err := r.app.placeOf(id)
		must(t, err)
		places[id] = p
	}
	return places
}

// filled reports whether each queue has a begin, a middle and an end. A batch goes
// into one queue, so the first posts may leave one short; those after it go alone,
// to the queues in turn: all of a topic must fit the calls at a time.
func filled(t *testing.T, topics ...string) bool {
	t.Helper()
	for _, topic := range topics {
		for q := range queues {
			if top, err := shared.Brokers[0].MaxOffset(topic, q); err != nil || top < 4 {
				return false
			}
		}
	}
	return true
}

// keep chooses what is kept, and returns the offset that each queue's must not
// pass: everything of one topic, and one message of each queue of the other.
func keep(ctx context.Context, t *testing.T, r *rig, kept *held, places map[string]place, some string) map[queue]int64 {
	t.Helper()
	bounds := map[queue]int64{}
	chosen := map[queue]int64{}
	for id, at := range places {
		q := queue{r.facts.accepted[id].topic, at.queue}
		top, err := shared.Brokers[0].MaxOffset(q.topic, q.queue)
		must(t, err)
		if top < 4 {
			t.Fatalf("queue %v holds only %d messages", q, top)
		}
		bounds[q] = 0
		if q.topic == some {
			bounds[q] = []int64{0, top / 2, top - 2, top - 1}[at.queue]
		}
		chosen[q] = top
	}
	for id, at := range places {
		q := queue{r.facts.accepted[id].topic, at.queue}
		if q.topic != some || at.offset == bounds[q] {
			kept.add(id, at)
		}
	}
	if len(chosen) != 2*queues {
		t.Fatalf("messages in %d queues, want %d", len(chosen), 2*queues)
	}
	return bounds
}

// heldFor is longer than three pushes of the offsets, which come each 5 s.
const heldFor = 16 * time.Second

// watchOffsets looks at the offsets for as long as the messages are kept. That
// they reach their bounds shows that offsets are pushed at all.
func watchOffsets(ctx context.Context, t *testing.T, bounds map[queue]int64) {
	t.Helper()
	for began := time.Now(); time.Since(began) < heldFor; {
		wantOffsets(t, bounds)
		must(t, pause(ctx, 500*time.Millisecond))
	}
	if err := reach(ctx, bounds); err != nil {
		t.Error(err)
	}
	wantOffsets(t, bounds)
}

func wantOffsets(t *testing.T, bounds map[queue]int64) {
	t.Helper()
	early, err := ackedEarly(bounds)
	must(t, err)
	if early != "" {
		t.Fatal(early)
	}
}

// ackedEarly says which offset has passed a message that has no 200; "": none.
func ackedEarly(bounds map[queue]int64) (early string, err error) {
	for q, bound := range bounds {
		if offset, err := offsetOf(q); err != nil || offset > bound {
			return fmt.Sprintf("queue %v: the broker's offset is %d, and message %d has no 200", q, offset, bound), err
		}
	}
	return "", nil
}

// placeOf reads from a receipt where the broker put the message.
func (p *producer) placeOf(id string) (at place, err error) {
	got, err := readReceipts(make(job, 1), []byte(p.story(id)))
	if err != nil {
		return at, err
	}
	_, number, _ := strings.Cut(got[0].Broker.Queue, "/")
	at.offset = got[0].Broker.Offset
	at.queue, err = strconv.Atoi(number)
	return at, err
}

// calledFor: each of ids was called for n times or more.
func (h *history) calledFor(ids map[string]place, n int) bool {
	for id := range ids {
		if len(h.calls[id]) < n {
			return false
		}
	}
	return true
}

// verdictBut does not mind that the kept ones have no 200 yet.
func (h *history) verdictBut(consumer string, kept map[string]place) []string {
	return slices.DeleteFunc(h.verdict(consumer), func(wrong string) bool {
		for id := range kept {
			if strings.HasPrefix(wrong, "lost: ") && strings.Contains(wrong, id) {
				return true
			}
		}
		return false
	})
}
