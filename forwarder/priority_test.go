package forwarder_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/spool"
)

// After an outage, while few attempts are allowed at a time, topics with a backlog
// get them by their weights, also where all of them are answered at one moment. The
// weights are drawn by chance.
func TestPriorityHoldsWhileTheRampIsNarrow(t *testing.T) {
	testscale.Seeds(t, testscale.Between(5, 500), func(t *testing.T, seed uint64) {
		p := newPriorities(t, rand.New(rand.NewPCG(seed, 0)))
		p.outage()
		p.judge()
	})
}

// Of the confirmed messages these are looked at: before them a topic may not yet have
// noticed that the broker is back, and after them the ramp is no longer narrow.
const fromNarrow, toNarrow = 40, 240

// priorities is a broker that comes back, and topics of different weights.
type priorities struct {
	*rig
	down    atomic.Bool
	weights map[string]int
	sum     int
}

func newPriorities(t *testing.T, rnd *rand.Rand) *priorities {
	p := &priorities{weights: map[string]int{}}
	p.down.Store(true)
	var drafts []spool.Draft
	for n := range 2 + rnd.IntN(4) {
		topic := fmt.Sprint("topic-", n)
		p.weights[topic] = 1 + rnd.IntN(9)
		p.sum += p.weights[topic]
		for range toNarrow + 60 {
			drafts = append(drafts, draft(topic, topic, ""))
		}
	}
	b := &returning{answers: 20 * time.Millisecond, down: func(string) bool { return p.down.Load() }}
	p.rig = open(t, &b.producer)
	for some := range slices.Chunk(drafts, 300) {
		p.accept(some...)
	}
	opts := forwarder.Options{MaxMessages: 1, Priorities: p.weights, Retry: backoff.Policy{Initial: 20 * time.Millisecond, Max: 20 * time.Millisecond}}
	p.forward(opts, b)
	return p
}

func (p *priorities) outage() {
	time.Sleep(5 * time.Second)
	p.down.Store(false)
	p.drainedWithin(10 * time.Minute)
}

func (p *priorities) judge() {
	p.t.Helper()
	got := map[string]int{}
	for _, m := range p.stored[fromNarrow:toNarrow] {
		got[m.Topic]++
	}
	for topic, weight := range p.weights {
		want := float64((toNarrow-fromNarrow)*weight) / float64(p.sum)
		if n := float64(got[topic]); n < want*0.7-5 || n > want*1.3+10 {
			p.t.Errorf("%s got %.0f of %d attempts, want %.0f; weights %v", topic, n, toNarrow-fromNarrow, want, p.weights)
		}
	}
}
