package spool_test

import (
	"strings"
	"testing"

	"github.com/remora-mq/remora/spool"
)

// TestWhatIsAsideBehindACopyComesBack: a message whose ordering key waits for a copy that is
// being sent again may be put aside, where others fill the windows, and is sent when that has
// ended.
func TestWhatIsAsideBehindACopyComesBack(t *testing.T) {
	opts := retaining()
	opts.Window = budget
	r := newRig(t, opts)
	r.accept(keyed("t", "first", "k"))
	r.confirmAll("t")
	r.accept(keyed("t", "behind", "k"))
	for range 3 {
		r.accept(repeat(1000, draft("t", "x"))...)
	}
	for range 10 {
		r.accept(repeat(200, draft("fills", strings.Repeat("x", 1<<10)))...)
	}
	r.reopen()
	r.leaseRest("fills")
	r.resend(spool.ResendFilter{Topic: "t"}, 1)
	copied := r.lease("t", 1)
	if got := string(copied[0].Body); got != "first" {
		t.Fatalf("leased %q", got)
	}
	others := r.leaseRest("t")
	if r.Aside() == 0 {
		t.Fatal("nothing is aside: the test proves nothing")
	}
	r.confirm(others)
	r.confirm(copied)
	for last := ""; last != "behind"; {
		leases := r.lease("t", 1)
		last = string(leases[0].Body)
		r.confirm(leases)
	}
	r.confirmAll("t")
}
