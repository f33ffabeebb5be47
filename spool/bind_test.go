package spool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// queues are those of a topic, as RocketMQ names them.
func queues(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint("broker-a/", i))
	}
	return all
}

func (r *rig) bind(topic string, queues []string) {
	r.t.Helper()
	if err := r.Bind(context.Background(), topic, queues); err != nil {
		r.t.Fatal(err)
	}
}

// drainQueues confirms all of topic, one message a lease, and returns the queues of key.
func (r *rig) drainQueues(topic, key string, n int) (all []string) {
	r.t.Helper()
	for range n {
		leases := r.lease(topic, 1)
		if leases[0].OrderingKey == key {
			all = append(all, leases[0].Queue)
		}
		r.confirm(leases)
	}
	return slices.Compact(all)
}

// movingKey has other queues of 3, 4 and 8.
const movingKey = "order-3"

// A key keeps its queue while it has messages, whatever becomes of the topic's
// queues meanwhile, also over a restart; then it has one of those that there are.
func TestKeyKeepsItsQueueWhileItHasMessages(t *testing.T) {
	r := newRig(t, spool.Options{})
	fill := func() { r.accept(keyed("t", "a", movingKey), keyed("t", "b", movingKey), draft("t", "free")) }
	fill()
	r.bind("t", queues(4))
	r.bind("t", queues(8))
	fill()
	before := r.drainQueues("t", movingKey, 6)
	fill()
	after := r.drainQueues("t", movingKey, 3)
	if len(before) != 1 || len(after) != 1 || before[0] == after[0] {
		t.Fatalf("queues before %v, after %v: want one, then another one", before, after)
	}
	fill()
	r.bind("t", queues(4))
	r.bind("t", queues(2))
	r.reopen()
	r.bind("t", queues(3))
	if again := r.drainQueues("t", movingKey, 3); !slices.Equal(again, after) {
		t.Errorf("after a restart the queue is %v, want %v", again, after)
	}
	fill()
	r.bind("t", queues(4))
	if last := r.drainQueues("t", movingKey, 3); len(last) != 1 || slices.Equal(last, after) {
		t.Errorf("at last the queue is %v", last)
	}
	r.balanced()
}

// A queue has one attempt at a time, of as many keys as wait for it, in order;
// what has no key does not wait for it.
func TestQueueHasOneAttemptAtATime(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(keyed("t", "a1", "a"), keyed("t", "b1", "b"), keyed("t", "a2", "a"), keyed("t", "c1", "c"))
	r.bind("t", queues(1))
	first := r.lease("t", 3)
	if got := fmt.Sprint(bodies(first)); got != "[a1 b1 a2]" {
		t.Fatalf("leased %s", got)
	}
	r.none("t")
	r.accept(draft("t", "free"))
	if got := fmt.Sprint(bodies(r.lease("t", 3))); got != "[free]" {
		t.Fatalf("leased %s", got)
	}
	r.Release(first[2:])
	r.none("t")
	r.confirm(first[:1])
	r.none("t")
	r.bury(first[1])
	if got := fmt.Sprint(bodies(r.lease("t", 3))); got != "[a2 c1]" {
		t.Fatalf("leased %s", got)
	}
	if n := spool.Attempted(r.Spool, "t"); n != 1 {
		t.Errorf("attempts are made at %d queues", n)
	}
}

// A batch of a queue is whole, though most messages are of the others.
func TestABatchOfOneQueueIsWhole(t *testing.T) {
	r := newRig(t, spool.Options{})
	const most = 256
	batch := make([]spool.Draft, 8*most)
	for i := range batch {
		batch[i] = keyed("t", fmt.Sprint(i), fmt.Sprint("key-", i))
	}
	r.accept(batch...)
	r.bind("t", queues(4))
	r.Release(r.lease("t", 1)) // after this attempts of all are allowed
	for range 4 {
		leases := r.lease("t", most)
		if len(leases) < most {
			t.Errorf("%d of a queue were leased, want %d", len(leases), most)
		}
	}
}

// Retrying messages hold their keys back, not their queue.
func TestRetryHoldsKeysNotTheQueue(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(keyed("t", "a1", "a"), keyed("t", "a2", "a"), keyed("t", "b1", "b"))
	r.bind("t", queues(1))
	r.Retry(r.lease("t", 1), time.Now().Add(time.Hour), message.OutcomeRetryable, "down")
	if got := fmt.Sprint(bodies(r.lease("t", 3))); got != "[b1]" {
		t.Fatalf("leased %s", got)
	}
}

// What is bound to a queue moves to another one when it is told, durably, and
// back when that is told.
func TestKeysMove(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(keyed("t", "1", movingKey), keyed("t", "2", movingKey))
	r.bind("t", []string{"b/0"})
	if err := r.Move(t.Context(), "t", "b/0", "a/7"); err != nil {
		t.Fatal(err)
	}
	if q := r.lease("t", 1)[0].Queue; q != "a/7" {
		t.Errorf("the queue is %s", q)
	}
	r.reopen()
	r.accept(keyed("t", "3", "another"))
	first := r.lease("t", 2)
	if q := first[0].Queue; q != "a/7" {
		t.Errorf("after a restart it is %s", q)
	}
	if err := r.Unmove(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.accept(keyed("t", "4", movingKey), keyed("t", "5", "new"))
	r.confirm(first)
	got := map[string]string{}
	for range 2 {
		for _, l := range r.lease("t", 9) {
			got[string(l.Body)] = l.Queue
		}
	}
	if fmt.Sprint(got) != "map[3:a/7 4:a/7 5:b/0]" {
		t.Errorf("queues %v", got)
	}
	r.balanced()
}

// A damaged binding is forgotten and said, and stops nothing.
func TestDamagedBinding(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(keyed("t", "1", "k"))
	r.bind("t", queues(4))
	r.whileClosed(func() { r.damaged("su", flipLast) })
	if d := r.Damage(); len(d.Reports) != 1 || len(d.Reports[0].Found) == 0 || d.Reports[0].Lost != 0 {
		t.Fatalf("damage %+v", d)
	}
	r.acknowledged(1)
	if l := r.lease("t", 1); l[0].Queue != "" {
		t.Errorf("bound to %s", l[0].Queue)
	}
	r.bind("t", queues(4))
	r.reopen()
	if l := r.lease("t", 1); l[0].Queue == "" {
		t.Error("not bound")
	}
	r.balanced()
	r.behind(func(tx *kv.Tx) { tx.Set([]byte("su\x00\x00\x00\x01"), []byte("x")) })
	if a, err := r.Audit(t.Context()); err != nil || a.Balanced {
		t.Errorf("an audit does not see it: %+v %v", a, err)
	}
}

// However many layouts, and however large, the entry stays within what is
// declared, and the keys in memory keep their queues.
func TestManyLayouts(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(keyed("t", "0", movingKey))
	r.bind("t", queues(4))
	want := ""
	for n := range 20 {
		r.accept(keyed("t", fmt.Sprint(n), movingKey))
		r.bind("t", queues(5+100*n))
	}
	for range 21 {
		leases := r.lease("t", 1)
		if q := leases[0].Queue; want != "" && q != want {
			t.Fatalf("%s is bound to %s, and was to %s", leases[0].Body, q, want)
		} else {
			want = q
		}
		r.confirm(leases)
	}
	if err := r.Move(t.Context(), "t", "broker-a/7", "broker-with-a-long-name/7"); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	r.balanced()
	if err := r.Bind(t.Context(), "t", nil); err == nil {
		t.Error("bound to no queue")
	}
}

// Layouts of which the entry would be larger than a value may be are forgotten, the oldest
// first: the keys in memory keep their queues, keys can be bound and moved as before, and
// nothing stops. One that is too large by itself is refused.
func TestLayoutsThatAreTooLarge(t *testing.T) {
	const most = 4096
	named := func(broker string, n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint(broker, "/", i))
		}
		return all
	}
	for name, tc := range map[string]struct {
		name     int   // bytes of a broker's
		memTable int64 // that commits are larger than values by, or nearly as large
	}{"one fits": {110, 0}, "two fit": {45, 0}, "two fit into a value, more into a commit": {45, 32 << 20}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			long := strings.Repeat("a", tc.name)
			r := newRigOn(t, spool.Options{}, kv.Options{MemTableSize: tc.memTable})
			r.accept(keyed("t", "0", movingKey))
			r.bind("t", named(long, most))
			first := r.lease("t", 1)
			want := first[0].Queue
			r.Release(first)
			for n := range 4 {
				r.accept(keyed("t", fmt.Sprint(n), movingKey))
				r.bind("t", named(long, most-1-n))
			}
			if first = r.lease("t", 1); first[0].Queue != want {
				t.Errorf("it is bound to %s, and was to %s", first[0].Queue, want)
			}
			r.Release(first)
			if err := r.Move(t.Context(), "t", want, long+"/7"); err != nil {
				t.Error(err)
			}
			if first = r.lease("t", 1); first[0].Queue != long+"/7" {
				t.Errorf("it was moved to %s", first[0].Queue)
			}
			r.confirm(first)
			if err := r.Bind(t.Context(), "t", named(strings.Repeat("b", 130), most)); !errors.Is(err, spool.ErrTooLarge) {
				t.Errorf("queues whose names are too long: %v", err)
			}
			if err := r.Move(t.Context(), "t", long+"/8", strings.Repeat("c", 1<<20)); !errors.Is(err, spool.ErrTooLarge) {
				t.Errorf("a queue whose name is too long: %v", err)
			}
			r.kill()
			r.balanced()
			r.bind("t", queues(4))
			if left := r.drainQueues("t", movingKey, 4); len(left) == 0 {
				t.Error("nothing is left")
			}
		})
	}
}
