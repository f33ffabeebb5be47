package sidecarproof

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

// TestPowerLossAgainAndAgain cuts the power at random operations, each time on
// what the last cut left: also in the middle of a recovery. How many rotations and
// compactions that comes to is logged, and not required, as TestPowerLoss does: a cut
// may undo them, and six are few.
func TestPowerLossAgainAndAgain(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 11))
	j, from := &journal{}, ""
	x := examineAll(t)
	for round := range testscale.Between(6, 100) {
		at := 1 + rng.IntN(300)
		if round%2 == 1 {
			at = 1 + rng.IntN(60) // a recovery takes about as many
		}
		survivors := []disk.Survivors{disk.None, disk.Random(rng.Uint64()), disk.All}[rng.IntN(3)]
		dirs := cutAt(t, j, from, at, survivors)
		x.work <- state{dir: dirs[0], what: fmt.Sprintf("cut %d, at operation %d, %s", round, at, survivors), fates: j.now(), sizes: smallSizes}
		if from = dirs[1]; x.broken() {
			break
		}
	}
	written, gone := tablesOf(t, from)
	t.Logf("%d tables written, %d compacted away", written, gone)
	accepted, cancelled := totals(j.now())
	t.Logf("%d states, %d findings; %d messages accepted, %d cancelled", x.end(), x.findings, accepted, cancelled)
	if x.findings > 0 {
		t.Fatalf("the promise was broken")
	}
	if accepted < 50 {
		t.Errorf("too few messages prove nothing")
	}
}

// cutAt runs a sidecar under traffic until the power goes, and returns what
// survives, twice.
func cutAt(t *testing.T, j *journal, from string, at int, s disk.Survivors) []string {
	t.Helper()
	fs := powerfs.Mount(t, powerfs.Options{From: from})
	fs.CutAt(at)
	run := &session{form: form{program: small, sizes: smallSizes, unreachable: true, seed: uint64(at)}, fs: fs}
	run.side = launch(t, run.setup(fs), fs.Start)
	run.traffic = &traffic{journal: j, sizes: smallSizes, until: j.len() + 150, side: func() *client { return run.side.client }}
	over := make(chan struct{})
	go func() {
		defer close(over)
		if run.side.await() == nil {
			run.traffic.start(uint64(at))
			run.traffic.running.Wait()
		}
	}()
	select {
	case <-fs.WasCut():
	case <-over: // before it came
		fs.Cut()
	}
	_ = run.side.cmd.Process.Kill() // the power takes it too
	<-over
	run.side.kill()
	return fs.Survive(slices.Repeat([]disk.Survivors{s}, 2)...)
}
