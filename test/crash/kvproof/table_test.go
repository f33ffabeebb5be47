package kvproof

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

// TestATableThatCannotBeWritten fails the sync of one table, of a flush or of a
// compaction: the writer is fenced, is started again on the same mount, answers
// the retry, and loses its power. Badger drops such a table of a compaction in
// silence (test/crash/badgerproof.TestACompactionDropsATable).
func TestATableThatCannotBeWritten(t *testing.T) {
	writer, failed, dropped := build(t, ""), 0, 0
	const first = 6 // tables are flushed before anything is compacted
	for nth := first; nth < first+30 && (failed < testscale.Between(2, 30) || dropped == 0); nth++ {
		fs := powerfs.Mount(t, powerfs.Options{})
		before, why := failTable(t, fs, writer, nth)
		if before.failed == 0 || !before.refuses {
			t.Fatalf("table %d: the writer ended with %+v", nth, before)
		}
		failed++
		if strings.Contains(why, "the rest could not be written") {
			dropped++
		}
		after := await(t, start(t, fs, writer, before.failed, before.failed))
		if !after.done {
			t.Errorf("table %d: the restart ended with %+v", nth, after)
		}
		dir := fs.Cut(disk.None)[0]
		if lost := check(t, dir, append(before.accepted, after.accepted...)); lost > 0 {
			t.Errorf("table %d: %d of %d records lost or blamed; %s", nth, lost, len(before.accepted), why)
		}
	}
	if t.Logf("%d of %d tables were dropped by a compaction", dropped, failed); dropped == 0 {
		t.Errorf("none proves nothing")
	}
}

// failTable runs a writer until it fails, and makes the sync of the nth table
// fail.
func failTable(t *testing.T, fs *powerfs.FS, program string, nth int) (o outcome, why string) {
	t.Helper()
	var said, wrong answers
	cmd := exec.Command(program, filepath.Join(fs.Dir(), "db"), "1", "3000")
	cmd.Stdout, cmd.Stderr = &said, &wrong
	fs.HoldAt(1)
	ended := fs.Start(cmd)
	for tables := 0; ; {
		select {
		case held := <-fs.Held():
			if strings.HasSuffix(held.Held.Path, ".sst") && held.Held.Kind == "fdatasync" {
				if tables++; tables == nth {
					fs.FailSync(1)
					fs.Resume(0)
					continue
				}
			}
			fs.Resume(1)
		case <-ended:
			return said.outcome(), wrong.text.String()
		case <-time.After(time.Minute):
			t.Fatalf("the writer neither fails nor ends; %d tables are written", tables)
		}
	}
}
