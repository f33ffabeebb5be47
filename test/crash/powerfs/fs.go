package powerfs

import (
	"path/filepath"
	"time"

	"github.com/remora-mq/remora/test/crash/crashfs/control"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// Cut takes the power, for good, and returns a new plain directory with the
// surviving state for each of survivors.
func (f *FS) Cut(survivors ...disk.Survivors) []string {
	f.t.Helper()
	f.ask(control.Request{Do: control.Cut})
	return f.Survive(survivors...)
}

// Survive returns what would be left if the power went now. The file system
// goes on; disk.View gives what its programs see, which no cut would leave.
func (f *FS) Survive(survivors ...disk.Survivors) []string {
	f.t.Helper()
	var dirs []string
	for _, s := range survivors {
		dir := filepath.Join(f.t.TempDir(), "state")
		f.ask(control.Request{Do: control.Survive, Survivors: s.String(), Dir: dir})
		dirs = append(dirs, dir)
	}
	return dirs
}

// CutAt cuts the power in place of the n-th mutating operation from now; 0
// takes it back.
func (f *FS) CutAt(n int) { f.do(control.CutAt, n) }

// WasCut is closed when the power is gone.
func (f *FS) WasCut() <-chan struct{} { return f.conn.cut }

// HoldAt makes the n-th mutating operation from now wait, and all after it; 0
// takes it back.
func (f *FS) HoldAt(n int) { f.do(control.HoldAt, n) }

// Held has a value when an operation waits.
func (f *FS) Held() <-chan disk.Event { return f.conn.held }

// Resume lets the held operations go, and holds the n-th after the one that
// was held; 0: none.
func (f *FS) Resume(n int) { f.do(control.Resume, n) }

// FailSync lets the n-th sync from now, of a file or directory, fail with EIO;
// the file's unsynced pages stay visible but are never written. 0 takes it
// back.
func (f *FS) FailSync(n int) { f.do(control.FailSync, n) }

// Stall makes each sync wait before it does anything; 0 ends it, also for
// those that wait.
func (f *FS) Stall(delay time.Duration) {
	f.t.Helper()
	f.ask(control.Request{Do: control.Stall, Delay: delay})
}

// Space limits the bytes the files may allocate; 0 lifts it. What is allocated
// stays.
func (f *FS) Space(bytes int64) {
	f.t.Helper()
	f.ask(control.Request{Do: control.Space, N: bytes})
}

// Ops returns how many mutating operations have arrived.
func (f *FS) Ops() int {
	f.t.Helper()
	return f.ask(control.Request{Do: control.Counts}).Ops
}

// Syncs returns how many syncs, of files and directories, were let through.
func (f *FS) Syncs() int {
	f.t.Helper()
	return f.ask(control.Request{Do: control.Counts}).Syncs
}

// History returns the mutating operations; operation N is at N-1.
func (f *FS) History() []disk.Op {
	f.t.Helper()
	return f.ask(control.Request{Do: control.History}).History
}

func (f *FS) do(what string, n int) {
	f.t.Helper()
	f.ask(control.Request{Do: what, N: int64(n)})
}

func (f *FS) ask(q control.Request) control.Reply {
	f.t.Helper()
	r, err := f.conn.ask(q)
	if err != nil {
		f.t.Fatalf("crashfs: %v", err)
	}
	return r
}

// await fails the test if an event does not come, with what crashfs said.
func (f *FS) await(event <-chan struct{}, within time.Duration, what string) {
	f.t.Helper()
	select {
	case <-event:
	case <-f.conn.ended:
		f.t.Fatalf("crashfs ended before %s: %s", what, f.conn.stderr.String())
	case <-time.After(within):
		f.t.Fatalf("no sign of %s within %v", what, within)
	}
}
