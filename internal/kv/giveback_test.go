package kv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestGiveBack deletes all but one of 60 MiB: without a word from anyone Badger
// would keep them.
func TestGiveBack(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	const keys, size = 1500, 40_000
	for n := range keys {
		mustCommit(t, q, put(numbered(n), strings.Repeat("x", size)))
	}
	for n := 1; n < keys; n++ {
		mustCommit(t, q, &write{delete: []string{numbered(n)}})
	}
	if before := taken(t, opts.Dir); before < keys*size*2/3 {
		t.Fatalf("only %d bytes are there to be given back", before)
	}
	must(t, db.GiveBack(t.Context()))
	// Badger removes old tables when the last reader has let go of them.
	for range 6000 {
		if taken(t, opts.Dir) < 8<<20 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if after := taken(t, opts.Dir); after >= 8<<20 {
		t.Errorf("%d bytes are left of one key of %d", after, size)
	}
	wantValue(t, db, numbered(0), strings.Repeat("x", size))
	if n := count(t, db); n != 1 {
		t.Errorf("%d keys are seen, want the one that was kept", n)
	}
	must(t, db.Close())
	if err := db.GiveBack(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// taken is what the files of dir take on the disk, in bytes.
func taken(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(dir, e.Name()), &st) == nil { // it may vanish
			bytes += st.Blocks * 512
		}
	}
	return bytes
}

// TestBeforeOpen: the hook comes with the lock and before anything else; starts
// that died of a full disk are forgotten, others are not.
func TestBeforeOpen(t *testing.T) {
	for _, starved := range []bool{true, false} {
		opts := testOptions(filepath.Join(t.TempDir(), "db"))
		filled(t, opts, 10)
		must(t, os.WriteFile(filepath.Join(opts.Dir, startsName), []byte("7"), 0o600))
		opts.BeforeOpen = func(ctx context.Context) (bool, error) {
			other := opts
			other.BeforeOpen = nil
			if _, err := Open(ctx, other); !errors.Is(err, ErrLocked) {
				t.Errorf("the directory is not locked: %v", err)
			}
			if text, err := os.ReadFile(filepath.Join(opts.Dir, startsName)); err != nil || string(text) != "7" {
				t.Errorf("this start is counted already: %q, %v", text, err)
			}
			return starved, nil
		}
		openTest(t, opts)
		if old, err := filepath.Glob(filepath.Join(filepath.Dir(opts.Dir), "quarantine", "*")); err != nil || (len(old) > 0) == starved {
			t.Errorf("starved %t: quarantine has %v, %v", starved, old, err)
		}
	}
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	enough := errors.New("waited enough")
	opts.BeforeOpen = func(context.Context) (bool, error) { return true, enough }
	if _, err := Open(t.Context(), opts); !errors.Is(err, enough) {
		t.Errorf("Open returns %v", err)
	}
	opts.BeforeOpen = nil
	openTest(t, opts) // the lock was let go
}
