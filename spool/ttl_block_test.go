package spool_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// A message that expires keeps its ordering key waiting as any dead letter does that
// blocks, wherever it was, over a restart, until it has ended or is sent first.
func TestExpiredDeadLetterBlocksItsKey(t *testing.T) {
	before := map[string]func(r *rig){ // what happens to it before its time is over
		"it waits":         func(*rig) {},
		"a reopening":      (*rig).reopen,
		"it was attempted": func(r *rig) { r.Release(r.lease("t", 1)) },
	}
	for name, first := range before {
		for again, restart := range restarts() {
			for _, window := range []int64{0, 1} {
				for _, redriven := range []bool{false, true} {
					t.Run(fmt.Sprint(name, ", ", again, ", window ", window, ", redriven: ", redriven), func(t *testing.T) {
						r, c := timed(t, spool.Options{BlockOnDead: true, Window: window})
						all := r.accept(mortal(keyed("t", "1", "k"), time.Minute))
						all = append(all, r.accept(keyed("t", "2", "k"), keyed("t", "other", "l"), keyed("t", "3", "k"))...)
						first(r)
						c.advance(2 * time.Minute)
						r.awaitDead(1)
						restart(r)
						r.waitsBehind(all[0].ID, all[1].ID)
						r.goesOn(all[0].ID, redriven)
					})
				}
			}
		}
	}
}

// waitsBehind wants only what has another key to be leased, and no drain to wait.
func (r *rig) waitsBehind(dead, behind message.ID) {
	r.t.Helper()
	r.expiredLetter(dead)
	if got := fmt.Sprint(r.awaitLeasable("t", 1)); got != "[other]" || r.BlockedKeys() != 1 || r.blockedBy(behind) != dead {
		r.t.Fatalf("leased %s, %d keys are blocked, by %s", got, r.BlockedKeys(), r.blockedBy(behind))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.Drained(ctx); err != nil {
		r.t.Errorf("a drain waits for what is blocked: %v", err)
	}
}

// goesOn ends the dead letter, and wants the rest, in order.
func (r *rig) goesOn(dead message.ID, redriven bool) {
	r.t.Helper()
	end, want := r.Discard, "[2 3]"
	if redriven {
		end, want = r.Redrive, "[1 2 3]"
	}
	if _, refused, err := end(context.Background(), []message.ID{dead}); err != nil || len(refused) > 0 {
		r.t.Fatal(err, refused)
	}
	over, stop := context.WithCancel(context.Background())
	stop()
	if err := r.Drained(over); err == nil {
		r.t.Error("drained, with messages that may be sent again")
	}
	if got := fmt.Sprint(r.awaitLeasable("t", len(strings.Fields(want)))); got != want || r.BlockedKeys() != 0 {
		r.t.Errorf("leased %s, want %s; %d keys are blocked", got, want, r.BlockedKeys())
	}
	r.balanced()
}

// One that expires in flight, with others of its key behind it in the same attempt,
// keeps those back that are given back with it.
func TestWhatExpiresInFlightBlocksWhatWasWithIt(t *testing.T) {
	r, c := timed(t, spool.Options{BlockOnDead: true, LeaseFor: time.Hour})
	all := r.accept(mortal(keyed("t", "1", "k"), time.Minute), keyed("t", "2", "k"), keyed("t", "3", "k"), keyed("t", "other", "l"))
	leases := r.lease("t", 2)
	c.advance(2 * time.Minute)
	if current := r.Current(leases); len(current) > 0 {
		t.Fatalf("of %q may be attempted %q", bodies(leases), bodies(current))
	}
	r.awaitDead(1)
	r.waitsBehind(all[0].ID, all[1].ID)
	r.goesOn(all[0].ID, false)
}
