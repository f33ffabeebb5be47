package sidecarproof

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/crash/loopfs"
)

// realFilesystems are what the promise is made for. A long interval leaves to
// the journal only what syncs put there.
var realFilesystems = map[string]loopfs.Options{
	"ext4, commit=1":    {Type: "ext4", Size: 512 << 20, Options: []string{"commit=1"}},
	"ext4, commit=5":    {Type: "ext4", Size: 512 << 20, Options: []string{"commit=5"}},
	"ext4, commit=1000": {Type: "ext4", Size: 512 << 20, Options: []string{"commit=1000"}},
	"xfs":               {Type: "xfs", Size: 512 << 20},
}

// TestPowerLossOnRealFilesystems cuts the power of ext4 and XFS at a random
// number of answers. Unlike crashfs they have the kernel's own ordering. Each cut is of
// a file system and a life of its own, of 20 to 320 answers, so how many rotations and
// compactions that comes to is logged, and not required, as TestPowerLoss does.
func TestPowerLossOnRealFilesystems(t *testing.T) {
	for name, o := range realFilesystems {
		cuts := testscale.Between(5, 170) // of each ext4
		if o.Type == "xfs" {
			cuts = testscale.Between(5, 500)
		}
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 17))
			accepted, written, gone := 0, 0, 0
			for n := range cuts {
				one := cutReal(t, o, small, 20+rng.IntN(300), uint64(n))
				answered, _ := totals(one.fates)
				accepted += answered
				tables, merged := tablesOf(t, one.dir)
				written, gone = written+tables, gone+merged
				for _, f := range examine(t, one).findings {
					t.Fatalf("cut %d: %s: %s", n, f.kind, f.text)
				}
			}
			t.Logf("%d cuts: %d messages accepted before them, 0 lost; %d tables written, %d compacted away", cuts, accepted, written, gone)
		})
	}
}

// TestRealFilesystemsLoseWhatWasNotSynced is the same where there is something
// to find.
func TestRealFilesystemsLoseWhatWasNotSynced(t *testing.T) {
	const most = 5
	for name, o := range realFilesystems {
		t.Run(name, func(t *testing.T) {
			for n := range most {
				if r := examine(t, cutReal(t, o, smallLossy, 200, uint64(n))); r.has(lost) {
					t.Logf("found in cut %d", n)
					return
				}
			}
			t.Errorf("no loss in %d cuts: the same search proves nothing about the synced sidecar", most)
		})
	}
}

// cutReal cuts the power of a sidecar under traffic as soon as so many messages
// are accepted, and returns what was left.
func cutReal(t *testing.T, o loopfs.Options, p program, answers int, seed uint64) state {
	t.Helper()
	fs := loopfs.Mount(t, o)
	dir := filepath.Join(fs.Dir(), "state")
	side := run(t, setup{program: p, dir: filepath.Join(dir, "data"), unreachable: true}, spawn(t))
	w := &traffic{journal: &journal{}, sizes: smallSizes, until: 1 << 30, side: func() *client { return side.client }}
	w.start(seed)
	awaitAnswers(t, w, side, answers)
	before := w.now()
	fs.Shutdown()
	side.kill()
	w.stop()
	for _, u := range w.untrue {
		t.Errorf("%s\n%s", u, side.log.tail())
	}
	fs.Remount()
	return state{dir: dir, what: fmt.Sprintf("%s, cut after %d answers", o.Type, answers), fates: atTheCut(before, w.now()), sizes: smallSizes}
}

func awaitAnswers(t *testing.T, w *traffic, side *process, answers int) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if accepted, _ := totals(w.now()); accepted >= answers {
				return
			}
		case <-side.ended:
			t.Fatalf("the sidecar ended: %s\n%s", side.cmd.ProcessState, side.log.tail())
		case <-deadline.C:
			t.Fatalf("not %d answers within %s\n%s", answers, patience, side.log.tail())
		}
	}
}

// atTheCut is what the clients knew before the cut, of all they ever sent. A
// file system that was shut down may answer a sync with success, so what was
// answered after the cut may be so, or not.
func atTheCut(before, after []fate) []fate {
	for n := range after {
		f := &after[n]
		known := fate{}
		if n < len(before) {
			known = before[n]
		}
		cancelTried := f.cancel != known.cancel
		f.id, f.refused, f.cancel = known.id, known.refused, known.cancel
		if cancelTried {
			f.cancel = maybeCancelled
		}
		if f.decision != known.decision {
			f.decision = f.decision.maybe()
		}
	}
	return after
}
