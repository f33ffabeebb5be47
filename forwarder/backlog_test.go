package forwarder_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// While a backlog of several topics is sent, with few attempts at a time, new
// messages of another topic go at once, and the backlog goes on, also of a topic
// that new messages come to all the while, and of one with a lower priority.
func TestNewMessagesAndBacklogDoNotStarveEachOther(t *testing.T) {
	const each, old = 1500, 4
	opts := forwarder.Options{Concurrency: 4, MaxMessages: 1, Priorities: map[string]int{"old-0": 10, "fresh": 2}}
	inBubble(t, opts, func(t *testing.T) *cluster {
		c := newCluster(t, 1, "a")
		c.delay = 40 * time.Millisecond
		for n := range old {
			c.spread(fmt.Sprint("old-", n), 1)
		}
		c.spread("fresh", 1)
		return c
	}, func(b *bubble) {
		var drafts []spool.Draft
		for n := range each * old {
			drafts = append(drafts, draft(fmt.Sprint("old-", n%old), "x", ""))
		}
		b.cluster.set("a", down)
		for some := range slices.Chunk(drafts, 1000) {
			b.accept(some...)
		}
		b.cluster.heal()
		behind := map[string]uint64{}
		for range 100 {
			id := b.accept(draft("fresh", "x", ""), draft("old-1", "new", ""))[0]
			if got := b.after(100*time.Millisecond, id); got.State != message.StateConfirmed {
				if got = b.after(400*time.Millisecond, id); got.State != message.StateConfirmed {
					t.Fatalf("a new message waits behind the backlog: %+v", got)
				}
			}
			for n := range old {
				topic := fmt.Sprint("old-", n)
				behind[topic] = b.Ledger().Topics[topic].InSpool.Held()
			}
		}
		for topic, held := range behind {
			if held > each-100 {
				t.Errorf("%d of %d of topic %s are left: the backlog is starved", held, each, topic)
			}
		}
		if behind["old-0"] >= behind["old-2"] {
			t.Errorf("left %v: the topic with a higher priority is not ahead", behind)
		}
		time.Sleep(10 * time.Minute)
		b.drained()
	})
}
