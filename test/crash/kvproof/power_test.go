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

// TestAPowerLossIsNoDamage takes states of a writer that rotates its log, torn
// pages included: all it answered is in each, and no damage is reported.
func TestAPowerLossIsNoDamage(t *testing.T) {
	program := build(t, "")
	fs := powerfs.Mount(t, powerfs.Options{})
	fs.HoldAt(1)
	var said answers
	cmd := exec.Command(program, filepath.Join(fs.Dir(), "db"), "1", "240") // three rotations and more
	cmd.Stdout, cmd.Stderr = &said, t.Output()
	fs.Start(cmd)
	rng, one, states := rand.New(rand.NewPCG(4, 4)), testscale.Between(60, 2), 0
	for !said.outcome().done {
		select {
		case held := <-fs.Held():
			if rng.IntN(one) == 0 {
				accepted := said.outcome().accepted // before: an operation that was resumed may end only now
				for i, dir := range fs.Survive(survivors(held)...) {
					states++
					if lost := check(t, dir, accepted); lost > 0 {
						t.Errorf("operation %d (%s %s), %s: %d lost or blamed", held.Ops, held.Held.Kind, held.Held.Path, survivors(held)[i], lost)
					}
					if err := os.RemoveAll(dir); err != nil {
						t.Error(err)
					}
				}
			}
			fs.Resume(1)
		case <-time.After(time.Second): // it may be done
		}
	}
	logs := 0
	for _, op := range fs.History() {
		if op.Kind == "create" && strings.HasSuffix(op.Path, ".mem") {
			logs++
		}
	}
	if t.Logf("%d states, %d operations, %d logs", states, fs.Ops(), logs); states < 20 || logs < 4 {
		t.Errorf("too few prove nothing")
	}
}

func survivors(held disk.Event) []disk.Survivors {
	return []disk.Survivors{disk.None, disk.All, disk.Random(uint64(held.Ops))}
}
