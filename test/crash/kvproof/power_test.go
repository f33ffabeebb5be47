package kvproof

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

// answers collects what a writer printed, whole lines at a time.
type answers struct {
	mu   sync.Mutex
	text strings.Builder
}

func (a *answers) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text.Write(p)
}

func (a *answers) outcome() outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	text := a.text.String()
	return listen(strings.NewReader(text[:strings.LastIndexByte(text, '\n')+1]))
}

// cuts is what a run of the writer showed whose power went at many operations.
type cuts struct {
	points, lossy, states int // lossy: points at which something was lost or blamed
	ops, logs             int
}

// cutPower runs a writer that rotates its log, and takes states, torn pages
// included, at the operations that at picks. since counts the operations since
// a log was taken into use or removed.
func cutPower(t *testing.T, program string, at func(since int) bool) (c cuts) {
	t.Helper()
	fs := powerfs.Mount(t, powerfs.Options{})
	fs.HoldAt(1)
	var said answers
	cmd := exec.Command(program, filepath.Join(fs.Dir(), "db"), "1", "240") // three rotations and more
	cmd.Stdout, cmd.Stderr = &said, t.Output()
	fs.Start(cmd)
	for since := 0; !said.outcome().done; since++ {
		select {
		case held := <-fs.Held():
			if strings.HasSuffix(held.Held.Path, ".mem") {
				switch held.Held.Kind {
				case "create":
					c.logs++
				case "truncate": // a log is taken into use, or emptied to be removed
					since = 0
				}
			}
			if at(since) {
				accepted := said.outcome().accepted // before: an operation that was resumed may end only now
				c.point(t, fs, held, accepted)
			}
			fs.Resume(1)
		case <-time.After(time.Second): // it may be done
			since--
		}
	}
	c.ops = fs.Ops()
	return c
}

// point takes the states that a power loss at the held operation may leave.
func (c *cuts) point(t *testing.T, fs *powerfs.FS, held disk.Event, accepted []int) {
	t.Helper()
	c.points++
	before := c.lossy
	for i, dir := range fs.Survive(survivors(held)...) {
		c.states++
		if lost := check(t, dir, accepted); lost > 0 {
			c.lossy = before + 1
			t.Logf("operation %d (%s %s), %s: %d lost or blamed", held.Ops, held.Held.Kind, held.Held.Path, survivors(held)[i], lost)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}

// TestAPowerLossIsNoDamage takes states of a writer that rotates its log: all
// it answered is in each, and no damage is reported.
func TestAPowerLossIsNoDamage(t *testing.T) {
	rng, one := rand.New(rand.NewPCG(4, 4)), testscale.Between(60, 2)
	c := cutPower(t, build(t, ""), func(int) bool { return rng.IntN(one) == 0 })
	if c.lossy > 0 {
		t.Errorf("%d of %d points lost something", c.lossy, c.points)
	}
	if t.Logf("%+v", c); c.states < 20 || c.logs < 4 {
		t.Errorf("too few prove nothing")
	}
}

// rotation is how many operations after the change of a log still belong to it:
// the first commits into the new one, the flush of the one before.
const rotation = 20

// TestPowerLossAroundARotation cuts at each operation after a log was taken into
// use, and after the one before was flushed and removed; the short form at each
// third.
func TestPowerLossAroundARotation(t *testing.T) {
	near, one := 0, testscale.Between(3, 1)
	c := cutPower(t, build(t, ""), func(since int) bool {
		if since <= rotation {
			near++
		}
		return since <= rotation && near%one == 0
	})
	if c.lossy > 0 {
		t.Errorf("%d of %d points lost something", c.lossy, c.points)
	}
	if t.Logf("%+v", c); c.points < 50 || c.logs < 4 {
		t.Errorf("too few prove nothing")
	}
}

// TestWithoutTheSyncARotationLoses is the same with a writer that answers
// before its log is synced.
func TestWithoutTheSyncARotationLoses(t *testing.T) {
	c := cutPower(t, build(t, "remora_nosync"), func(since int) bool { return since == rotation })
	if t.Logf("%+v", c); c.lossy == 0 {
		t.Errorf("nothing was lost: the same cuts prove nothing about the sync")
	}
}

func survivors(held disk.Event) []disk.Survivors {
	return []disk.Survivors{disk.None, disk.All, disk.Random(uint64(held.Ops))}
}
