package forwarder_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// TestPolicies runs forwarders of a real spool against scripted brokers that are
// down, hang, store late or without SEND_OK, are busy, leave the routes and come
// back with other queues, by random schedules. Of each: nothing is lost, messages
// of a key first appear in order, a queue has one attempt with keys at a time, a
// topic whose broker is well never waits long, and once all is well everything is
// confirmed within minutes.
func TestPolicies(t *testing.T) {
	began, messages, copies := time.Now(), 0, 0
	testscale.Seeds(t, testscale.Between(40, 100_000), func(t *testing.T, seed uint64) {
		p := newPolicies(t, seed)
		p.run()
		messages, copies = messages+len(p.accepted), copies+p.cluster.copies
	})
	t.Logf("%d messages, %d of them stored again, in %v", messages, copies, time.Since(began).Round(time.Second))
}

// calm is a topic whose broker is always well.
const calm = "calm"

// longest is how long a message of it may take: an attempt that hangs for
// another topic may have the last slot, and so may the next one's.
const longest = 30 * time.Second

// policies is one run.
type policies struct {
	t       *testing.T
	rnd     *rand.Rand
	dir     string
	opts    forwarder.Options
	block   bool
	cluster *cluster
	topics  []string
	keys    int

	db   *kv.DB
	s    *spool.Spool
	stop context.CancelFunc
	over chan error

	accepted map[message.ID]bool // poisoned
	calm     map[message.ID]time.Time
}

func newPolicies(t *testing.T, seed uint64) *policies {
	rnd := rand.New(rand.NewPCG(seed, 0))
	brokers := []string{"a", "b", "c"}[:1+rnd.IntN(3)]
	p := &policies{
		t: t, rnd: rnd, dir: memoryDir(t), block: rnd.IntN(2) == 0, keys: 1 + rnd.IntN(6),
		cluster: newCluster(t, seed, brokers...), accepted: map[message.ID]bool{}, calm: map[message.ID]time.Time{},
	}
	c := p.cluster
	c.delay = time.Duration(rnd.Int64N(int64(100 * time.Millisecond)))
	c.late = time.Duration(rnd.Int64N(int64(20 * time.Second)))
	c.faulty = rnd.Float64() * 0.3
	p.opts = forwarder.Options{
		Concurrency: 4 + rnd.IntN(30), MaxMessages: 1 + rnd.IntN(20), BlockOnDead: p.block,
		FailoverAfter: time.Duration(rnd.IntN(3)) * 7 * time.Second, Priorities: map[string]int{},
	}
	for n := range 1 + rnd.IntN(6) {
		topic := fmt.Sprint("topic-", n)
		p.topics = append(p.topics, topic)
		p.opts.Priorities[topic] = 1 + rnd.IntN(9)
		c.spread(topic, 1+rnd.IntN(4))
	}
	c.queues[calm] = []string{calm + "/0"}
	return p
}

// memoryDir is a folder of the test in memory, where there is one: in a bubble
// only syncs take time.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "remora-policies-") //nolint:usetesting // t.TempDir is on the disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (p *policies) run() {
	p.start()
	for range 5 + p.rnd.IntN(15) {
		p.step()
		p.notStarved()
	}
	p.cluster.heal()
	p.drained()
	if p.block {
		p.discard()
		p.drained()
	}
	p.end()
	p.cluster.late0.Wait()
	p.cluster.inOrder()
	p.nothingLost()
}

// step accepts messages, and then changes something or lets time go by.
func (p *policies) step() {
	p.accept(1 + p.rnd.IntN(20))
	name := p.cluster.brokers[p.rnd.IntN(len(p.cluster.brokers))]
	switch p.rnd.IntN(8) {
	case 0, 1:
		p.cluster.set(name, []fault{down, hanging, degraded, busy, gone}[p.rnd.IntN(5)])
	case 2, 3:
		p.cluster.set(name, well)
	case 4:
		p.cluster.spread(p.topics[p.rnd.IntN(len(p.topics))], 1+p.rnd.IntN(6))
	case 5:
		p.end()
		p.start()
	}
	time.Sleep(time.Duration(p.rnd.Int64N(int64(6 * time.Second))))
}

func (p *policies) accept(n int) {
	drafts := []spool.Draft{draft(calm, "x", "")}
	for range n {
		d := draft(p.topics[p.rnd.IntN(len(p.topics))], "x", "")
		if k := p.rnd.IntN(p.keys + 1); k > 0 {
			d.OrderingKey = fmt.Sprint("key-", k)
		}
		if p.rnd.IntN(50) == 0 {
			d.Tag = "poison"
		}
		drafts = append(drafts, d)
	}
	receipts, err := p.s.Append(p.t.Context(), drafts)
	if err != nil {
		p.t.Fatal(err)
	}
	for i, r := range receipts {
		p.accepted[r.ID] = drafts[i].Tag == "poison"
	}
	p.calm[receipts[0].ID] = time.Now()
}

// notStarved looks after the messages of the topic whose broker is well.
func (p *policies) notStarved() {
	for id, since := range p.calm {
		r, err := p.s.Receipt(p.t.Context(), id)
		if err != nil {
			p.t.Fatal(err)
		}
		if r.State == message.StateConfirmed {
			delete(p.calm, id)
		} else if waited := time.Since(since); waited > longest {
			p.t.Errorf("a message of a topic whose broker is well has waited for %v: %+v", waited, r)
		}
	}
}

// drained demands that everything ends soon: waits are of 30 seconds at most, and
// a topic may have had a few failures.
func (p *policies) drained() {
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Minute)
	defer cancel()
	if err := p.s.Drained(ctx); err != nil {
		p.t.Errorf("not drained when all is well: %v; ledger %+v", err, p.s.Ledger().Total)
	}
}

// discard ends the dead letters that block their keys, again and again. One that
// blocks is listed once it is on disk: a drain does not wait for that.
func (p *policies) discard() {
	for {
		page, err := p.s.List(p.t.Context(), spool.Query{States: []message.State{message.StateDead}, Limit: 1000})
		if err != nil {
			p.t.Fatal(err)
		}
		if len(page.Items) == 0 && p.s.BlockedKeys() == 0 {
			return
		}
		var ids []message.ID
		for _, i := range page.Items {
			ids = append(ids, i.ID)
		}
		if _, _, err := p.s.Discard(p.t.Context(), ids); err != nil {
			p.t.Fatal(err)
		}
		p.drained()
	}
}

func (p *policies) nothingLost() {
	for id, poisoned := range p.accepted {
		if p.cluster.seen[id] == poisoned {
			p.t.Errorf("message %s, poisoned %t, is at the broker: %t", id, poisoned, poisoned)
		}
	}
}

// start opens the spool, and runs a forwarder.
func (p *policies) start() {
	db, err := kv.Open(p.t.Context(), kv.Options{Dir: filepath.Join(p.dir, "db"), MemTableSize: 1 << 20})
	if err != nil {
		p.t.Fatal(err)
	}
	p.db = db
	if p.s, err = spool.Open(p.t.Context(), db, spool.Options{Dir: p.dir, BlockOnDead: p.block}); err != nil {
		p.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(p.t.Context()))
	p.stop, p.over = stop, make(chan error, 1)
	f := forwarder.New(p.opts, p.s, p.cluster, slog.New(slog.DiscardHandler))
	go func() { p.over <- f.Run(ctx) }()
}

// end stops the forwarder, with attempts that run, and closes the spool.
func (p *policies) end() {
	p.stop()
	if err := errors.Join(<-p.over, p.s.Close(), p.db.Close()); err != nil {
		p.t.Error(err)
	}
}
