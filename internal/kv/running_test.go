package kv

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// childCrashed is what Go's runtime exits with after a panic.
const childCrashed = 2

// TestACrashOfACompaction has a compaction meet damage, of which it panics and
// ends the process: the next start finds the damage, names the place, and keeps
// what is whole, and can be compacted.
func TestACrashOfACompaction(t *testing.T) {
	t.Run("in a block", func(t *testing.T) {
		opts, keys, path := closedWithLevels(t)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		index, _, err := readIndex(f)
		must(t, err)
		block := index.blocks[1]
		sum := make([]byte, 4)
		_, err = f.ReadAt(sum, block.to-4)
		must(t, err)
		_, err = f.WriteAt([]byte{0x7f}, block.to-4-int64(sum[3])-4) // the number of entries
		must(t, errors.Join(err, f.Close()))
		crash(t, opts, "compact")
		found := wantCompacted(t, opts, keys)
		if found.File != filepath.Base(path) || found.From != block.from || found.To != block.to {
			t.Errorf("found %v, want bytes %d to %d of %s", found, block.from, block.to, path)
		}
	})
	t.Run("in an index", func(t *testing.T) {
		opts, keys, path := closedWithLevels(t)
		crash(t, opts, "compact index")
		found := wantCompacted(t, opts, keys)
		if found.File != filepath.Base(path) || !strings.HasPrefix(found.What, "index: ") {
			t.Errorf("found %v, want the index of %s", found, path)
		}
	})
}

// closedWithLevels leaves a database that has something to be compacted, and
// tells which is the largest table of the last level.
func closedWithLevels(t *testing.T) (opts Options, keys int, path string) {
	t.Helper()
	opts = testOptions(filepath.Join(t.TempDir(), "db"))
	db, err := Open(t.Context(), opts)
	must(t, err)
	keys = layered(t, db, Attach(db, &writer{}))
	path = largest(db)
	must(t, db.Close())
	return opts, keys, path
}

func crash(t *testing.T, opts Options, mode string) {
	t.Helper()
	cmd, out := child(t, mode, opts.Dir)
	answers(out)
	if code := exitCode(t, cmd.Wait()); code != childCrashed {
		t.Fatalf("exit code %d", code)
	}
}

// wantCompacted expects one damaged place, almost all keys, and no crash of
// another compaction.
func wantCompacted(t *testing.T, opts Options, keys int) Finding {
	t.Helper()
	db := wantAlmostAll(t, opts, keys)
	must(t, flatten(db))
	must(t, db.Err())
	d := db.Damage()
	if d == nil || len(d.Found) != 1 {
		t.Fatalf("damage: %+v", d)
	}
	return d.Found[0]
}

// damageIndex overwrites the beginning of the index of the largest table of the
// last level, in place: it is mapped.
func damageIndex(db *DB) error {
	path := largest(db)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, start, err := readIndex(f)
	if err == nil {
		_, err = f.WriteAt(bytes.Repeat([]byte{0x7f}, 64), start)
	}
	return errors.Join(err, f.Close())
}

// TestRunsAreCounted: the next start reads every block after two runs that ended
// without a word before they had finished a compaction, and not after others.
func TestRunsAreCounted(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db, err := Open(t.Context(), opts)
	must(t, err)
	layered(t, db, Attach(db, &writer{}))
	running := filepath.Join(opts.Dir, runningName)
	want := func(content string) {
		t.Helper()
		if data, err := os.ReadFile(running); err != nil || string(data) != content {
			t.Errorf("%s has %q, %v; want %q", runningName, data, err, content)
		}
	}
	must(t, flatten(db))
	want("")
	must(t, db.Close())
	if _, err := os.Stat(running); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is there: %v", runningName, err)
	}
	for _, tt := range []struct {
		before string
		deep   bool
		after  string
	}{
		{"", false, "1\n"},
		{"1\n", false, "2\n"},
		{"2\n", true, "1\n"},
		{"panic: of us\n\nmain.main()\n", false, "1\n"},
		{"1\npanic: slice bounds\n\ngithub.com/dgraph-io/badger/v4/table.f()\n", true, "1\n"},
	} {
		must(t, os.WriteFile(running, []byte(tt.before), 0o600))
		if _, why := (&directory{path: opts.Dir}).lastRuns(); (why != nil) != tt.deep {
			t.Errorf("%q: %v", tt.before, why)
		}
		db, err := Open(t.Context(), opts)
		must(t, err)
		want(tt.after)
		must(t, db.Close())
	}
}
