package kvproof

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const lastRecord = 150 // some three rotations

// long runs all of the tests' work, not a sample of it.
// build compiles the writer, with build tags.
func build(t *testing.T, tags string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "writer")
	out, err := exec.Command("go", "build", "-tags", tags, "-o", program, "./writer").CombinedOutput()
	if err != nil {
		t.Fatalf("build the writer: %v\n%s", err, out)
	}
	return program
}

// outcome is what a writer printed until it failed, was done, or ended.
type outcome struct {
	accepted []int
	failed   int  // the record that was not accepted; 0: none
	refuses  bool // everything after it
	done     bool // it has accepted all and waits
}

// start runs a writer on a mount. The channel has its outcome.
func start(t *testing.T, fs *powerfs.FS, program string, first, last int) <-chan outcome {
	t.Helper()
	r, w := io.Pipe()
	cmd := exec.Command(program, filepath.Join(fs.Dir(), "db"), strconv.Itoa(first), strconv.Itoa(last))
	cmd.Stdout, cmd.Stderr = w, t.Output()
	ended := fs.Start(cmd)
	go func() {
		<-ended
		_ = w.Close()
	}()
	result := make(chan outcome, 1)
	go func() {
		result <- listen(r)
		_, _ = io.Copy(io.Discard, r)
	}()
	return result
}

func listen(r io.Reader) (o outcome) {
	for scan := bufio.NewScanner(r); !o.done && scan.Scan(); {
		word, rest, _ := strings.Cut(scan.Text(), " ")
		n, _ := strconv.Atoi(rest)
		switch word {
		case "accepted":
			o.accepted = append(o.accepted, n)
		case "failed":
			o.failed = n
		case "refuses":
			o.refuses = true
		case "done":
			o.done = true
		}
	}
	return o
}

func await(t *testing.T, result <-chan outcome) outcome {
	t.Helper()
	select {
	case o := <-result:
		return o
	case <-time.After(time.Minute):
		t.Fatal("the writer neither fails nor ends")
		return outcome{}
	}
}

// sequence is a failed sync and what follows: the writer is fenced, is started
// again on the same mount, answers the retry of what failed, and loses its
// power. It returns how many of the answered records are gone; ended is false
// when there was no such sync any more.
func sequence(t *testing.T, first, second string, failing int, survivors disk.Survivors) (lost int, ended bool) {
	t.Helper()
	fs := powerfs.Mount(t, powerfs.Options{})
	fs.FailSync(failing)
	result := start(t, fs, first, 1, lastRecord)
	before := await(t, result)
	if before.done {
		return 0, false
	}
	if before.failed != 0 && !before.refuses {
		t.Errorf("sync %d: after the failure of record %d something was answered", failing, before.failed)
	}
	retry := max(before.failed, 1) // without one it could not even open
	result = start(t, fs, second, retry, retry)
	after := await(t, result)
	if !after.done {
		t.Errorf("sync %d: the restart ended with %+v", failing, after)
	}
	dir := fs.Cut(survivors)[0]
	return check(t, dir, append(before.accepted, after.accepted...)), true
}

// check opens what the power left and returns how many answered records are
// not in it. One that blames the disk for a power loss counts as one more.
func check(t *testing.T, dir string, answered []int) (lost int) {
	t.Helper()
	db, err := kv.Open(t.Context(), Options(filepath.Join(dir, "db")))
	if err != nil {
		t.Fatalf("open after the power loss: %v", err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if d := db.Damage(); d != nil {
		t.Logf("reported %+v", d)
		lost++
	}
	for _, n := range answered {
		if v, err := db.Get(Key(n)); err != nil || !bytes.Equal(v, Value(n)) {
			lost++
		}
	}
	return lost
}

// moments are the syncs to fail: of the directory's birth, of commits, and of
// the flushes and new logs of rotations. The long form fails every one.
func moments() []int {
	if testscale.Long() {
		all := make([]int, testscale.Between(10, 1000))
		for i := range all {
			all[i] = 1 + i*1000/len(all)
		}
		return all
	}
	return []int{1, 4, 7, 13, 24, 61, 100, 137, 170, 210}
}

func TestRetryAfterAFailedSyncIsDurable(t *testing.T) {
	writer := build(t, "")
	failed := 0
	for _, n := range moments() {
		lost, ended := sequence(t, writer, writer, n, disk.None)
		if !ended {
			break
		}
		failed++
		if lost > 0 {
			t.Errorf("sync %d: %d records were answered and are gone", n, lost)
		}
	}
	if t.Logf("%d syncs failed, one a run", failed); failed < 8 {
		t.Errorf("too few prove nothing")
	}
}

// TestWithoutTheRewriteTheRetryIsLost is the same sequence with a restart that
// trusts what it reads back; it ends at the first loss. Badger's own flush of
// what it replayed saves the retry where it comes before the power goes: about
// one failed sync of the log in three shows the loss.
func TestWithoutTheRewriteTheRetryIsLost(t *testing.T) {
	writer, trusting := build(t, ""), build(t, "remora_norewrite")
	const first, last = 13, 150 // syncs of the log, and of the directory, in turns
	for n := first; n <= last; n++ {
		lost, ended := sequence(t, writer, trusting, n, disk.None)
		if lost > 0 {
			t.Logf("sync %d: %d records were answered and are gone", n, lost)
			return
		}
		if !ended {
			break
		}
	}
	t.Fatal("nothing was lost: the same sequence proves nothing about the rewrite")
}
