package kv

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestARefusedOldTableIsJudgedLater has the system refuse to show what a
// compaction was made from, in which a block is damaged or none is: it is kept
// until it can be read.
func TestARefusedOldTableIsJudgedLater(t *testing.T) {
	for name, rot := range map[string]bool{"damaged": true, "whole": false} {
		t.Run(name, func(t *testing.T) {
			opts := testOptions(filepath.Join(t.TempDir(), "db"))
			db, err := Open(t.Context(), opts)
			must(t, err)
			keys := layered(t, db, Attach(db, &writer{}))
			old := largest(db)
			if rot {
				damageBlock(t, old, func(b []blockPlace) blockPlace { return b[1] })
			}
			allow := refuseOpen(t, old)
			must(t, flatten(db))
			if err := db.Err(); err != nil || db.compacts.quiet() {
				t.Errorf("judged unread; fenced: %v", err)
			}
			allow()
			db.compacts.said(lineFailed, []any{7, errInjected}) // another one ends
			if err := db.Err(); errors.Is(err, ErrDamaged) != rot {
				t.Fatalf("fenced: %v", err)
			}
			if rot {
				bury(t, db)
				wantAlmostAll(t, opts, keys)
				return
			}
			if !db.compacts.quiet() {
				t.Error("something is still held")
			}
			must(t, db.Close())
		})
	}
}

// refuseOpen makes a file that is open impossible to open once more.
func refuseOpen(t *testing.T, path string) (allow func()) {
	t.Helper()
	must(t, os.Rename(path, path+".kept"))
	must(t, os.Symlink(path, path))
	return func() {
		must(t, os.Remove(path))
		must(t, os.Rename(path+".kept", path))
	}
}

// wantAlmostAll expects what is whole beside a damaged block, and a report of it.
func wantAlmostAll(t *testing.T, opts Options, keys int) *DB {
	t.Helper()
	db := openTest(t, opts)
	if db.Damage() == nil {
		t.Error("no damage is reported")
	}
	n, most := count(t, db), BlockSize/9000+1
	if t.Logf("%d of %d keys are there", n, keys); n < keys-most {
		t.Errorf("a damaged block has %d at most", most)
	}
	return db
}

// TestACommitWaitsForNoJudgement commits while one is under way.
func TestACommitWaitsForNoJudgement(t *testing.T) {
	db := openTest(t, testOptions(filepath.Join(t.TempDir(), "db")))
	q := Attach(db, &writer{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	db.compacts.mu.Lock()
	defer db.compacts.mu.Unlock()
	for range 3 { // each begins when all of the one before has been done
		op := put("key", "value")
		if err := q.Commit(ctx, op, op.size()); err != nil {
			t.Errorf("it waits: %v", err)
			break
		}
	}
}

// TestCloseTellsWhatIsNotJudged: what a compaction was made from cannot be read
// up to the end. Close fails, and the next open has everything.
func TestCloseTellsWhatIsNotJudged(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db, err := Open(t.Context(), opts)
	must(t, err)
	keys := layered(t, db, Attach(db, &writer{}))
	allow := refuseOpen(t, largest(db))
	must(t, flatten(db))
	if err := db.Close(); !errors.Is(err, errUnread) || !errors.Is(err, unix.ELOOP) {
		t.Errorf("Close returns %v", err)
	}
	wantUnclean(t, db)
	allow()
	wantWhole(t, opts, keys)
}

// TestCloseTellsOfALogThatStays: a log that is held until the end cannot be
// removed then, of which only Badger's log tells.
func TestCloseTellsOfALogThatStays(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db, err := Open(t.Context(), opts)
	must(t, err)
	mustCommit(t, Attach(db, &writer{}), put("key", "value"))
	must(t, os.Remove(filepath.Join(opts.Dir, logName(db.live.id)))) // so that it cannot be removed again
	if err := db.Close(); err == nil || !errors.Is(err, db.Err()) {
		t.Errorf("Close returns %v", err)
	}
	wantUnclean(t, db)
	wantValue(t, openTest(t, opts), "key", "value")
}

// wantUnclean expects a database that failed to close to have left no word of a
// clean stop, and gives its directory up, as the end of the process would.
func wantUnclean(t *testing.T, db *DB) {
	t.Helper()
	if db.Err() == nil {
		t.Error("it is not fenced")
	}
	if _, err := os.Stat(filepath.Join(db.dir.path, cleanName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", cleanName, err)
	}
	must(t, db.dir.close())
}

// TestRotIsNotCompactedAway changes a byte of a key, which Badger reads and would
// write again under a checksum that holds.
func TestRotIsNotCompactedAway(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db, err := Open(t.Context(), opts)
	must(t, err)
	keys := layered(t, db, Attach(db, &writer{}))
	path := largest(db)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	index, _, err := readIndex(f)
	must(t, err)
	block := index.blocks[1]
	const header = 4
	_, err = f.WriteAt([]byte("j"), block.from+header) // of the first key
	must(t, errors.Join(err, f.Close()))
	must(t, flatten(db))
	if err := db.Err(); !errors.Is(err, ErrDamaged) {
		t.Fatalf("fenced: %v", err)
	}
	bury(t, db)
	d := wantAlmostAll(t, opts, keys).Damage()
	if len(d.Found) != 1 || d.Found[0].File != filepath.Base(path) || d.Found[0].From != block.from || d.Found[0].To != block.to {
		t.Errorf("found %v, want bytes %d to %d of %s", d.Found, block.from, block.to, path)
	}
}
