package kv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Exit codes of the child.
const (
	childDone   = 0
	childFenced = 3
	childNoOpen = 4
)

const (
	serialCommits = 150

	churnWriters = 4
	churnCommits = 600 // by each writer
	churnDone    = "done"
)

// runChild is the test binary as another process, with its database in the
// working directory. Modes:
//   - hold: opens the database, says so, and waits for its input to end;
//   - serial: commits pairs one after the other, through rotations of the log,
//     saying so after each;
//   - churn: writers commit pairs of keys, saying so after each, until they are
//     done, say so, and the input ends, or the database is fenced;
//   - compact: opens another database, too, and compacts all of its own, of which
//     it may crash; or damages an index first.
func runChild(mode string) int {
	dir, err := os.Getwd()
	if err != nil {
		return childNoOpen
	}
	db, err := Open(context.Background(), testOptions(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return childNoOpen
	}
	q := Attach(db, &writer{})
	fmt.Println("ready")
	switch mode {
	case "hold":
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "serial":
		for i := range serialCommits {
			if commit(q, put(numbered(i), strings.Repeat("v", 20_000))) != nil {
				return childFenced
			}
			fmt.Println("ack", i)
		}
	case "churn":
		return churn(db, q)
	case "compact index":
		if damageIndex(db) != nil {
			return childFenced
		}
		fallthrough
	case "compact":
		if _, err := Open(context.Background(), testOptions(filepath.Join(filepath.Dir(dir), "other"))); err != nil {
			return childNoOpen
		}
		if flatten(db) != nil || db.Err() != nil {
			return childFenced
		}
	}
	return childDone // without Close
}

func churn(db *DB, q *Queue[*write]) int {
	var wg sync.WaitGroup
	value := strings.Repeat("v", 2000)
	for w := range churnWriters {
		wg.Go(func() {
			for i := range churnCommits {
				key := strconv.Itoa(w*churnCommits + i)
				if commit(q, &write{set: map[string]string{"a" + key: value, "b" + key: value}}) != nil {
					return
				}
				fmt.Println("ack", key)
			}
		})
	}
	wg.Wait()
	fmt.Println(churnDone)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case <-db.Failed():
	case <-ended:
	}
	if db.Err() != nil {
		fmt.Fprintln(os.Stderr, db.Close())
		return childFenced
	}
	return childDone
}

// child starts the test binary in mode, under the given command if any.
func child(t *testing.T, mode, dir string, under ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd, out := childCommand(t, mode, dir, under...)
	must(t, cmd.Start())
	return cmd, out
}

// childCommand is what child starts.
func childCommand(t *testing.T, mode, dir string, under ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	args := slices.Concat(under, []string{self})
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), childEnv+"="+mode)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	must(t, err)
	return cmd, bufio.NewScanner(out)
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

func TestLockOfAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), childEnv+"=hold")
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if scan := bufio.NewScanner(out); !scan.Scan() {
		t.Fatal("the child did not open the database")
	}
	_, err = Open(t.Context(), testOptions(dir))
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", cmd.Process.Pid)) {
		t.Errorf("got %v", err)
	}
	must(t, in.Close())
	opts := testOptions(dir)
	opts.LockWait = 10 * time.Second // it ends without Close: the lock goes with the process
	openTest(t, opts)
	must(t, cmd.Wait())
}

// TestKilledProcessLosesNothing is about recovery, not about syncs: the page
// cache outlives the process.
func TestKilledProcessLosesNothing(t *testing.T) {
	dir := t.TempDir()
	for round, acks := range []int{3, 400, 1500} {
		cmd, out := child(t, "churn", dir)
		var acked []string
		for out.Scan() {
			if key, ok := strings.CutPrefix(out.Text(), "ack "); ok {
				acked = append(acked, key)
			}
			if len(acked) == acks {
				must(t, cmd.Process.Signal(syscall.SIGKILL))
			}
		}
		_ = cmd.Wait()
		if len(acked) < acks {
			t.Fatalf("round %d: %d answers", round, len(acked))
		}
		wantAcked(t, dir, acked)
	}
}

// wantAcked opens the database and expects both keys of each answered pair,
// and no half of any other.
func wantAcked(t *testing.T, dir string, acked []string) {
	t.Helper()
	db, err := Open(t.Context(), testOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, key := range keysOf(t, db, Scan{KeysOnly: true}) {
		found[key] = true
	}
	for _, key := range acked {
		if !found["a"+key] || !found["b"+key] {
			t.Errorf("%s was answered and is lost", key)
		}
	}
	for key := range found {
		if !found["a"+key[1:]] || !found["b"+key[1:]] {
			t.Errorf("%s is without its other half", key)
		}
	}
	if !db.Stats().Unclean {
		t.Error("the stop counts as clean")
	}
	must(t, db.Close())
}

// strace returns the command line that traces the child's calls into a file.
func strace(t *testing.T, file string, expr ...string) []string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is needed to see the syncs: install it (Debian: apt-get install strace) or run `make test`, which does")
	}
	args := []string{path, "-f", "-qq", "-y", "-o", file}
	for _, e := range expr {
		args = append(args, "-e", e)
	}
	return args
}

func TestEachAnswerFollowsASyncOfTheLog(t *testing.T) {
	if !syncWrites {
		t.Fatal("built with remora_nosync, which is for the power-loss tests only")
	}
	file := filepath.Join(t.TempDir(), "trace")
	dir := t.TempDir()
	cmd, out := child(t, "serial", dir, strace(t, file, "trace=openat,fdatasync,fsync,write")...)
	acked := answers(out)
	must(t, cmd.Wait())
	trace, err := os.ReadFile(file)
	must(t, err)
	w := witness{t: t, dir: dir, pending: map[string]string{}}
	for line := range strings.Lines(string(trace)) {
		w.see(w.finished(strings.TrimSpace(line)))
	}
	if len(acked) != serialCommits || w.acks != serialCommits || w.created < 3 {
		t.Errorf("%d answers, %d in the trace, %d logs", len(acked), w.acks, w.created)
	}
}

// witness follows a trace and expects before each answer a sync of the newest
// log, and of the directory if a log was taken into use since the last. The
// entry of a log that is only prepared may wait for that.
type witness struct {
	t       *testing.T
	dir     string
	newest  string            // the log that was taken into use last
	ahead   bool              // there is a prepared log
	unsafe  bool              // and its directory entry is not synced
	pending map[string]string // unfinished calls by thread
	synced  bool
	entry   bool // a log's directory entry is not synced
	created int
	acks    int
}

func (w *witness) see(call string) {
	switch {
	case strings.HasPrefix(call, "openat(") && strings.Contains(call, `.mem"`) && strings.Contains(call, "O_EXCL"):
		w.ahead, w.unsafe = true, true
	case strings.HasPrefix(call, "openat(") && strings.Contains(call, `.mem"`) && strings.Contains(call, "O_CREAT"):
		w.newest = strings.Split(call, `"`)[1]
		w.entry = !w.ahead || w.unsafe
		w.ahead = false
		w.created++
	case strings.HasPrefix(call, "fdatasync(") && result(call) == "0":
		w.synced = w.synced || strings.Contains(call, "<"+w.newest+">)")
	case strings.HasPrefix(call, "fsync(") && strings.Contains(call, "<"+w.dir+">)") && result(call) == "0":
		w.entry, w.unsafe = false, false
	case strings.HasPrefix(call, "write(1<") && strings.Contains(call, `"ack `):
		if !w.synced || w.entry {
			w.t.Errorf("answer %d: log synced %t, directory to be synced %t", w.acks, w.synced, w.entry)
		}
		w.acks, w.synced = w.acks+1, false
	}
}

// finished puts the two lines of an interrupted call together; it returns the
// call when it has ended, so that its place in the trace is its end.
func (w *witness) finished(line string) string {
	pid, call, _ := strings.Cut(line, " ")
	call = strings.TrimSpace(call)
	if begin, ok := strings.CutSuffix(call, "<unfinished ...>"); ok {
		w.pending[pid] = strings.TrimSpace(begin)
		return ""
	}
	if _, end, ok := strings.Cut(call, " resumed>"); ok {
		return w.pending[pid] + end
	}
	return call
}

func result(call string) string {
	i := strings.LastIndex(call, " = ")
	if i < 0 {
		return ""
	}
	res, _, _ := strings.Cut(call[i+3:], " ")
	return res
}

// TestFailedSyncsLoseNothing fails one sync of each kind at several moments:
// what was answered before is there after a restart on the same cache, and
// nothing is answered after. A failed sync of the manifest makes Badger remove
// a table that the manifest names, and that of a table of a compaction makes it
// drop the table.
func TestFailedSyncsLoseNothing(t *testing.T) {
	for _, tt := range []struct {
		name, call, file string
		moments          []int
	}{
		{"logs", "fdatasync", "", []int{1, 4, 9, 30, 150}},
		{"tables", "msync", "", []int{1, 2, 3, 4}},
		{"directory", "fsync", "", []int{12, 30}},
		{"manifest", "fsync", badger.ManifestFilename, []int{1, 2, 3}},
	} {
		fenced := 0
		for _, n := range tt.moments {
			t.Run(fmt.Sprint(tt.name, " ", n), func(t *testing.T) {
				if failSync(t, tt.call, tt.file, n) {
					fenced++
				}
			})
		}
		if fenced == 0 {
			t.Errorf("%s: no run failed a sync", tt.name)
		}
	}
}

// failSync fails the nth call of a thread, on one file if it is named, and
// reports whether the child was fenced for it.
func failSync(t *testing.T, call, file string, n int) bool {
	t.Helper()
	dir, traced := t.TempDir(), filepath.Join(t.TempDir(), "trace")
	under := strace(t, traced, "trace="+call, fmt.Sprintf("inject=%s:error=EIO:when=%d", call, n))
	if file != "" {
		under = append(under, "-P", filepath.Join(dir, file))
	}
	cmd, out := childCommand(t, "churn", dir, under...)
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	acked, failed := churned(t, out, in, traced)
	code := exitCode(t, cmd.Wait())
	fenced := code == childFenced || code == childNoOpen
	if failed != fenced {
		t.Errorf("exit code %d, injected %t", code, failed)
	}
	t.Logf("exit code %d after %d answers", code, len(acked))
	wantAcked(t, dir, acked)
	return fenced
}

// churned reads the answers of a child, and whether a call of it was failed by
// then. One whose answers are all there is to be fenced for a failed call, and
// else to end, so that none fails unseen after that.
func churned(t *testing.T, out *bufio.Scanner, in io.Closer, traced string) (acked []string, failed bool) {
	t.Helper()
	injected := func() bool {
		trace, err := os.ReadFile(traced)
		must(t, err)
		return strings.Contains(string(trace), "INJECTED")
	}
	for out.Scan() {
		key, ok := strings.CutPrefix(out.Text(), "ack ")
		switch {
		case ok:
			acked = append(acked, key)
		case out.Text() == churnDone && injected():
			late := time.AfterFunc(time.Minute, func() { _ = in.Close() })
			defer late.Stop()
			failed = true
		case out.Text() == churnDone:
			must(t, in.Close())
			answers(out)
			return acked, false
		}
	}
	return acked, failed || injected()
}

func answers(out *bufio.Scanner) (acked []string) {
	for out.Scan() {
		if key, ok := strings.CutPrefix(out.Text(), "ack "); ok {
			acked = append(acked, key)
		}
	}
	return acked
}
