package kv

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRotationsFindTheirBlocks looks before each commit of several memtables:
// the log in use has its blocks, and so has the next one, which is empty.
func TestRotationsFindTheirBlocks(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	room := db.opts.logRoom() / 512
	seen := map[string]bool{}
	look := func(*Tx) error { // where only the committer runs
		logs, err := db.dir.logs()
		must(t, err)
		live := logs[len(logs)-1].name
		if n := blocks(t, filepath.Join(opts.Dir, live)); n < room {
			t.Errorf("%s has %d of %d blocks", live, n, room)
		}
		if next := db.nextLog.file; next == nil || !isEmpty(next.Name()) || blocks(t, next.Name()) < room {
			t.Errorf("the log after %s is not prepared", live)
		}
		seen[live] = true
		return nil
	}
	for n := 0; len(seen) < 4 && n < 500 && !t.Failed(); n++ {
		op := put(numbered(n), strings.Repeat("x", 40_000))
		mustCommit(t, q, op)
		op.do = look
		mustCommit(t, q, op)
	}
	if len(seen) < 4 {
		t.Errorf("only %d logs", len(seen))
	}
	must(t, db.Close())
	if left, err := filepath.Glob(filepath.Join(opts.Dir, "*.mem")); err != nil || slices.ContainsFunc(left, isEmpty) {
		t.Errorf("after Close there are %v, %v", left, err)
	}
}

// TestPreparedLogIsNoLog opens what a kill leaves: the prepared log is taken for
// one neither by Badger nor by the scan.
func TestPreparedLogIsNoLog(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db := openTest(t, opts)
	fill(t, Attach(db, &writer{}), 0, 200)
	<-db.keeper.end()
	must(t, db.keeper.note())
	opts.Dir = killed(t, opts.Dir)
	if left, err := filepath.Glob(filepath.Join(opts.Dir, "*.mem")); err != nil || !slices.ContainsFunc(left, isEmpty) {
		t.Fatalf("no prepared log among %v, %v", left, err)
	}
	again := openTest(t, opts)
	if d := again.Damage(); d != nil {
		t.Errorf("damage: %+v", d)
	}
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Blocks
}
