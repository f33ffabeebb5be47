package badgerproof

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// acks collects what the writer printed.
type acks struct {
	mu   sync.Mutex
	text []byte
}

func (a *acks) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text = append(a.text, p...)
	return len(p), nil
}

// commits returns what came in whole lines.
func (a *acks) commits(t *testing.T) (firsts []int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	lines := strings.Split(string(a.text), "\n")
	for _, line := range lines[:len(lines)-1] {
		n, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		firsts = append(firsts, n)
	}
	return firsts
}

// state is what one power cut could leave, and what must be in it.
type state struct {
	dir       string
	cut       disk.Event // the operation that did not happen
	survivors disk.Survivors
	acked     []int // first records of commits
}

// run is one writer on one file system.
type run struct {
	fs     *powerfs.FS
	acked  acks
	ended  <-chan struct{}
	writer *exec.Cmd
}

func start(t *testing.T, mode Mode, records int) *run {
	t.Helper()
	program, err := powerfs.Build("./test/crash/badgerproof/writer")
	if err != nil {
		t.Fatal(err)
	}
	r := &run{fs: powerfs.Mount(t, powerfs.Options{Dirs: disk.Ext4})}
	r.writer = exec.Command(program, filepath.Join(r.fs.Dir(), "db"), string(mode), strconv.Itoa(records))
	r.writer.Stdout, r.writer.Stderr = &r.acked, t.Output()
	r.fs.HoldAt(1)
	r.ended = r.fs.Start(r.writer)
	return r
}

// plan says which states to take when this operation waits.
type plan func(held disk.Event) []disk.Survivors

// states stops the writer before each operation until it ends, and yields the
// states of the plan. No sync can end while an operation is held, so all that
// was acknowledged by then must be in them.
func (r *run) states(t *testing.T, take plan) iter.Seq[state] {
	return func(yield func(state) bool) {
		for {
			select {
			case held := <-r.fs.Held():
				survivors := take(held)
				for i, dir := range r.fs.Survive(survivors...) {
					if !yield(state{dir, held, survivors[i], r.acked.commits(t)}) {
						return
					}
				}
				r.fs.Resume(1)
			case <-r.ended:
				return
			case <-time.After(time.Minute):
				t.Fatalf("the writer got stuck after %d commits", len(r.acked.commits(t)))
			}
		}
	}
}

// sometimes plans the states for one operation in n, and random ones of their
// own for each.
func sometimes(n int, always ...disk.Survivors) plan {
	rng := rand.New(rand.NewPCG(1, 1))
	return func(held disk.Event) []disk.Survivors {
		if rng.IntN(n) > 0 {
			return nil
		}
		return append(slices.Clip(always), disk.Random(uint64(held.Ops)))
	}
}

// flushing plans the strictest state for the operations on tables and the
// manifest: a rotation has just left a log.
func flushing(held disk.Event) []disk.Survivors {
	if strings.HasSuffix(held.Held.Path, ".sst") || strings.HasSuffix(held.Held.Path, "MANIFEST") {
		return []disk.Survivors{disk.None}
	}
	return nil
}

// requireEvents fails a run too short to prove anything.
func (r *run) requireEvents(t *testing.T) {
	t.Helper()
	count := map[string]int{}
	for _, op := range r.fs.History() {
		count[op.Kind+" "+filepath.Ext(op.Path)]++
	}
	t.Logf("%d operations, %d commits, %d logs, %d tables written, %d compacted away",
		r.fs.Ops(), len(r.acked.commits(t)), count["create .mem"], count["create .sst"], count["unlink .sst"])
	if count["create .mem"] < 4 || count["create .sst"] < 3 || count["unlink .sst"] < 1 {
		t.Errorf("the run needs 3 rotations with their flushes and a compaction")
	}
	if !r.writer.ProcessState.Success() {
		t.Errorf("the writer ended with %v", r.writer.ProcessState)
	}
}

// check opens a state and says what is wrong with it; empty: nothing.
func (s state) check(t *testing.T) string {
	t.Helper()
	missing, err := Missing(filepath.Join(s.dir, "db"), s.acked)
	if rerr := os.RemoveAll(s.dir); rerr != nil {
		t.Fatal(rerr)
	}
	if err == nil && missing == 0 {
		return ""
	}
	return fmt.Sprintf("operation %d (%s %s), %s: %d of %d acknowledged records missing, %v",
		s.cut.Ops, s.cut.Held.Kind, s.cut.Held.Path, s.survivors, missing, perCommit*len(s.acked), err)
}

func TestSyncedCommitsSurvive(t *testing.T) {
	r := start(t, Synced, 1600)
	taken := 0
	for s := range r.states(t, sometimes(12, disk.None)) {
		taken++
		if wrong := s.check(t); wrong != "" {
			t.Error(wrong)
		}
	}
	r.requireEvents(t)
	if t.Logf("%d states", taken); taken < 60 {
		t.Errorf("too few states prove nothing")
	}
}

// TestWeakerModesAreCaught is the same search where there is something to
// find: it ends at the first loss.
func TestWeakerModesAreCaught(t *testing.T) {
	for _, c := range []struct {
		mode Mode
		take plan
	}{
		{Unsynced, sometimes(12, disk.None)},
		{DBSync, flushing},
	} {
		t.Run(string(c.mode), func(t *testing.T) {
			r := start(t, c.mode, 3200)
			taken := 0
			for s := range r.states(t, c.take) {
				taken++
				if wrong := s.check(t); wrong != "" {
					t.Logf("state %d: %s", taken, wrong)
					return
				}
			}
			t.Fatalf("no loss in %d states: the same search proves nothing about the safe mode", taken)
		})
	}
}
