package spool_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/spool"
)

// The keys of a backlog are not read to make room, however far they are over the
// budget: none may go. Once they may, all of them do, more than are read at once.
func TestKeysOfABacklogAreNotReadToMakeRoom(t *testing.T) {
	c := newClock()
	r := newRig(t, spool.Options{Now: c.now, DedupeLimit: 1})
	const all = 6000
	for n := range all / 100 {
		var some []spool.Draft
		for i := range 100 {
			some = append(some, under(fmt.Sprint("key ", 100*n+i), draft("t", "x")))
		}
		r.accept(some...)
	}
	c.advance(time.Hour)
	r.damaged("sk", flipLast) // who reads it says so
	r.expire()
	if n, seen := r.Known().DedupeKeys, r.Damage().Seen; n != all || len(seen) > 0 {
		t.Fatalf("%d keys are known, %q seen", n, seen)
	}
	for n := 0; n < all; {
		leases := r.lease("t", 0)
		r.confirm(leases)
		n += len(leases)
	}
	if err := r.NewIdentity(t.Context()); err != nil { // all of it is recorded, now
		t.Fatal(err)
	}
	c.advance(10 * time.Minute)
	if r.expire(); r.Known().DedupeKeys != all || len(r.Damage().Seen) > 0 {
		t.Fatalf("%d keys are known 10 minutes later", r.Known().DedupeKeys)
	}
	c.advance(10 * time.Minute)
	if r.expire(); r.Known().DedupeKeys != 100 || len(r.Damage().Seen) != 1 {
		t.Errorf("%d keys are left, but those that cannot be read; %q seen", r.Known().DedupeKeys, r.Damage().Seen)
	}
}

// The keys of what is held take no room from those of what is settled: where one topic
// is stuck, the others keep their window.
func TestAStuckTopicEndsNoDeduplication(t *testing.T) {
	const limit = 1000
	for name, before := range map[string]time.Duration{"for long": 2 * time.Hour, "just now": 0} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			r := newRig(t, spool.Options{Now: c.now, DedupeLimit: limit * spool.KeyCost})
			acceptKeys := func(topic string, from, to int) {
				for ; from < to; from += 100 {
					var some []spool.Draft
					for i := range 100 {
						some = append(some, under(fmt.Sprint("key ", from+i), draft(topic, "x")))
					}
					r.accept(some...)
				}
			}
			flow := func(from, to int) {
				acceptKeys("flows", from, to)
				r.confirmAll("flows")
			}
			first := r.settle("flows", "first")
			if before > 0 {
				acceptKeys("stuck", 0, 2*limit)
			}
			c.advance(before)
			flow(0, 300)
			if before == 0 {
				acceptKeys("stuck", 0, 2*limit)
			}
			c.advance(21 * time.Minute)
			r.expire()
			if n, w := r.Known().DedupeKeys, r.DedupeWindow(); n != 2*limit+301 || w != 24*time.Hour {
				t.Errorf("%d keys are known, the window is %s", n, w)
			}
			if again := r.accept(under("first", draft("flows", "first")))[0]; !again.Duplicate || again.ID != first {
				t.Errorf("a repeat: %+v, first %s", again, first)
			}
			c.advance(time.Hour)
			flow(300, limit+300) // now the budget is reached, by these alone
			c.advance(time.Hour)
			r.expire()
			if n := r.Known().DedupeKeys; n != 3*limit {
				t.Errorf("%d keys are known, %d of them held", n, 2*limit)
			}
		})
	}
}
