package spool_test

import (
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"pgregory.net/rapid"

	"github.com/remora-mq/remora/spool"
)

const batch = 128

// waitingOnDisk is a spool with n messages of 1 KiB, of which nothing was read yet, and
// which were accepted while attempts failed: none of them may be attempted.
func waitingOnDisk(t *testing.T, n int) *rig {
	t.Helper()
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "fails"))
	failed := r.lease("t", 1)
	r.Retry(failed, time.Now().Add(time.Hour), message.OutcomeRetryable, "down")
	drafts := make([]spool.Draft, n)
	for i := range drafts {
		drafts[i] = draft("t", strings.Repeat("x", 1024))
	}
	for len(drafts) > 0 {
		some := min(len(drafts), 100)
		r.accept(drafts[:some]...)
		drafts = drafts[some:]
	}
	r.confirm(failed)
	r.reopen()
	return r
}

// TestDrainGoesAhead: what the next batches need is read, and may be attempted,
// before anybody asks for them; so a drain does not wait for a commit each MiB.
func TestDrainGoesAhead(t *testing.T) {
	const n = 3000
	r := waitingOnDisk(t, n)
	for leased := batch; leased <= 3*batch; leased += batch {
		r.lease("t", batch)
		want := min(n, 1+leased/batch*900) - leased // each batch lets one more MiB be read
		eventually(t, func() bool { ready, _, busy := r.Ahead("t"); return ready >= want && !busy })
	}
	r.lease("t", batch)
	eventually(t, func() bool { ready, allowed, _ := r.Ahead("t"); return ready == n-4*batch && allowed })
	for left := n - 4*batch; left > 0; {
		left -= len(r.lease("t", batch))
	}
	r.none("t")
}

// TestTheHeadDoesNotWaitForWhatIsBehindIt: the first read of a topic is a small one.
func TestTheHeadDoesNotWaitForWhatIsBehindIt(t *testing.T) {
	r := waitingOnDisk(t, 3000)
	r.lease("t", 1)
	if n := r.Windows(); n == 0 || n > 256<<10 {
		t.Errorf("%d bytes were read for one message", n)
	}
}

// TestFailingLaneDoesNotGoAhead: what nobody can send now stays on disk, and above
// what may have been attempted: there it can be cancelled after a restart.
func TestFailingLaneDoesNotGoAhead(t *testing.T) {
	r := waitingOnDisk(t, 3000)
	first := r.lease("t", 1) // one read brings more than 64 of such batches: no other is begun
	r.Retry(first, time.Now().Add(time.Hour), message.OutcomeRetryable, "down")
	eventually(t, func() bool { _, _, busy := r.Ahead("t"); return !busy })
	before, _, _ := r.Ahead("t")
	if _, err := r.Lease(t.Context(), "t", spool.LeaseOptions{MaxMessages: before + 1, MaxBytes: 1}); err != nil { // has to read
		t.Fatal(err)
	}
	ready, allowed, busy := r.Ahead("t")
	if ready < before || busy || allowed {
		t.Errorf("%d are ready, %d before, allowed: %v, busy: %v", ready, before, allowed, busy)
	}
}

// eventually is for what gives no signal to anybody outside.
func eventually(t rapid.TB, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
	}
}
