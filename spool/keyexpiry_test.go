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
