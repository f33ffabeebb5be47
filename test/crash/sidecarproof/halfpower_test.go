package sidecarproof

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

// TestPowerLossOfHalfMessages takes the power of the sidecar, and not of the broker, at
// random operations of its disk, each time on what the last cut left: between a half
// message at the broker and what is noted of it, between a decision and its end, and in
// a recovery. Every transaction is in the end what its client was told, each committed
// message arrives, and no other does.
func TestPowerLossOfHalfMessages(t *testing.T) { provePowerLossOfHalfMessages(t, smallRenewing) }

// smallRenewing renews half messages soon.
var smallRenewing = built("small-renewing", smallMemtable,
	replaced("transaction/questions.go", "const renewAfter = 10\n", "const renewAfter = 2\n"))

func provePowerLossOfHalfMessages(t *testing.T, what program) {
	t.Helper()
	p := newHalfProof(t)
	rng := rand.New(rand.NewPCG(8, testscale.PrintedSeed(t)))
	how, from := setup{program: what, nameServer: p.cluster.NameServerAddrs()[0]}, ""
	cuts, early := testscale.Between(12, 1000), 0
	for n := range cuts {
		fs := powerfs.Mount(t, powerfs.Options{From: from})
		at := 1 + rng.IntN(350)
		if n%4 == 3 {
			at = 1 + rng.IntN(60) // a recovery takes about as many
		}
		fs.CutAt(at)
		how.dir = filepath.Join(fs.Dir(), "data")
		side := launch(t, how, fs.Start)
		ready := make(chan bool, 1)
		go func() { ready <- side.await() == nil }()
		select {
		case is := <-ready:
			if is {
				p.follow(side)
			}
			select {
			case <-fs.WasCut():
			case <-time.After(patience):
				t.Errorf("no operation %d came\n%s", at, side.log.tail())
				fs.Cut()
			}
			_ = side.cmd.Process.Kill() // the power takes it too
		case <-fs.WasCut():
			early++
			_ = side.cmd.Process.Kill()
			<-ready
		}
		side.kill()
		survivors := []disk.Survivors{disk.None, disk.Random(rng.Uint64()), disk.All}[rng.IntN(3)]
		from = fs.Survive(survivors)[0]
	}
	how.dir = filepath.Join(from, "data")
	p.end(how)
	t.Logf("%d cuts, %d before the sidecar was ready", cuts, early)
}
