package spool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// With a budget for tests, so many messages of 2 KiB leave little of what topics share,
// and more than nothing.
const (
	shared     = budget * 3 / 4
	littleRoom = budget / 64
	fillShared = 334
)

func (r *rig) hasLittleRoom() {
	r.t.Helper()
	if left := shared - r.Windows(); left <= 0 || left >= littleRoom {
		r.t.Fatalf("%d bytes are left, the test needs less than %d", left, littleRoom)
	}
}

// acceptStuck accepts a message for each of n ordering keys, whose broker is gone.
func (r *rig) acceptStuck(n int) {
	r.t.Helper()
	body := strings.Repeat("x", 2<<10)
	for i := range n {
		r.accept(keyed("t", fmt.Sprint("stuck", i, body), fmt.Sprint("stuck", i)))
	}
}

// TestLittleRoomStarvesNoKey: where messages that were attempted and wait leave little
// room, what comes behind them is read for it, since nothing may leave more.
func TestLittleRoomStarvesNoKey(t *testing.T) {
	const behind = 100
	r := newRig(t, spool.Options{Window: budget})
	r.acceptStuck(fillShared)
	for i := range behind {
		r.accept(keyed("t", fmt.Sprint(i, strings.Repeat("x", 2<<10)), fmt.Sprint("sendable", i)))
	}
	r.reopen()
	r.fail("t", fillShared, time.Now().Add(time.Hour))
	for i := range behind {
		leases := r.lease("t", 1)
		if got := leases[0].OrderingKey; got != fmt.Sprint("sendable", i) {
			t.Fatalf("leased %s at %d", got, i)
		}
		r.confirm(leases)
	}
	r.hasLittleRoom()
	r.none("t")
}

// TestLittleRoomTakesBackWhatIsAside: messages that were put aside, behind one of their
// key that failed, are read again for little room.
func TestLittleRoomTakesBackWhatIsAside(t *testing.T) {
	const followers = 20
	r := newRig(t, spool.Options{Window: budget})
	body := strings.Repeat("x", 2<<10)
	first := r.accept(keyed("t", "first"+body, "c"))[0].ID
	for i := range followers {
		r.accept(keyed("t", fmt.Sprint("c", i, body), "c"))
	}
	r.acceptStuck(fillShared - 1)
	r.reopen()
	r.fail("t", fillShared, time.Now().Add(time.Hour))
	r.none("t")
	if n := r.Aside(); n != followers {
		t.Fatalf("%d messages are aside", n)
	}
	r.hasLittleRoom()
	if _, err := r.RetryNow(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	r.confirm(r.lease("t", 1))
	for i := range followers {
		leases := r.lease("t", 1)
		if got := strings.TrimRight(string(leases[0].Body), "x"); got != fmt.Sprint("c", i) {
			t.Fatalf("leased %s at %d", got, i)
		}
		r.confirm(leases)
	}
	r.balanced()
}

// TestLittleRoomIsReadForInTheEnd: also while there is always something to lease, be it
// the same that fails each time.
func TestLittleRoomIsReadForInTheEnd(t *testing.T) {
	r, c := timed(t, spool.Options{Window: budget})
	r.acceptStuck(fillShared)
	r.acceptStuck(50)
	r.reopen()
	r.fail("t", fillShared, c.now().Add(time.Hour)) // else one fails twice while it is written that others are attempted
	r.hasLittleRoom()
	before := r.Windows()
	c.advance(time.Hour)
	for range 100 {
		r.Retry(r.lease("t", 1000)[:1], c.now(), message.OutcomeRetryable, "down")
	}
	if r.Windows() == before {
		t.Error("nothing is read for the little room that is left")
	}
}

// TestDrainedWaitsForWhatLittleRoomIsReadFor: a topic that is stopped by a hold is not at
// its end while more of it may be read.
func TestDrainedWaitsForWhatLittleRoomIsReadFor(t *testing.T) {
	r := newRig(t, spool.Options{Window: budget})
	body := strings.Repeat("x", 2<<10)
	first := r.accept(keyed("t", body, "c"))[0].ID
	for range fillShared {
		r.accept(keyed("t", body, "c"))
	}
	r.reopen()
	var leases []*spool.Lease
	eventually(t, func() bool { // that an attempt may be made for all of them is written meanwhile
		r.Release(leases)
		leases = r.lease("t", fillShared+1)
		return len(leases) == fillShared+1
	})
	r.Retry(leases, time.Now(), message.OutcomeRetryable, "down")
	r.putOnHold(first)
	r.WakeDue()
	r.hasLittleRoom()
	r.accept(keyed("t", strings.Repeat("x", littleRoom), "sendable")) // does not fit, so that it is to be read
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.Drained(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("nothing is left, it says: %v", err)
	}
	r.confirm(r.lease("t", 1))
	if err := r.Drained(t.Context()); err != nil {
		t.Fatal(err)
	}
}
