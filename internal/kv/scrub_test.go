package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestDamagedTableIsKept though Badger removes it, which it does by cutting it off.
func TestDamagedTableIsKept(t *testing.T) {
	opts := testOptions(t.TempDir())
	filled(t, opts, 2500)
	db := openTest(t, opts)
	tables, err := db.dir.liveTables(opts.Magic)
	must(t, err)
	path := filepath.Join(opts.Dir, tables[0].name())
	flipInPlace(t, path, 100, 0)
	data, err := os.ReadFile(path)
	must(t, err)
	for range 2 {
		if found, err := db.Scrub(t.Context(), nil); err != nil || len(found) == 0 {
			t.Fatalf("%v, %v", found, err)
		}
	}
	_ = db.Close()
	must(t, os.Truncate(path, 0))
	kept, err := filepath.Glob(filepath.Join(filepath.Dir(opts.Dir), "quarantine", "tables", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("quarantine has %v, %v", kept, err)
	}
	if left, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(left, data) {
		t.Errorf("%d bytes are kept of %d: %v", len(left), len(data), err)
	}
}

// TestDamageLeavesItsWordOnce: many readers meet it, and each write is a sync.
func TestDamageLeavesItsWordOnce(t *testing.T) {
	dir := t.TempDir()
	db := openDoomed(t, testOptions(dir))
	word := filepath.Join(dir, startsName)
	why := damageError{fmt.Errorf("%w: a checksum does not fit", ErrDamaged)}
	db.Distrust(why)
	if err := os.Remove(word); err != nil {
		t.Fatal(err)
	}
	if !db.Condemn(why) || !errors.Is(db.Err(), ErrDamaged) {
		t.Errorf("failed: %v", db.Err())
	}
	if _, err := os.Stat(word); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is written again: %v", err)
	}
}

// TestOnlyProvenDamageCondemns: a start that finds nothing of it would end in the same
// way, and so would the next.
func TestOnlyProvenDamageCondemns(t *testing.T) {
	opts := testOptions(t.TempDir())
	filled(t, opts, 2500)
	db := openTest(t, opts)
	if db.Condemn(fmt.Errorf("%w: badger panicked", ErrDamaged)) || db.Err() != nil {
		t.Fatalf("condemned by a panic: %v", db.Err())
	}
	flipInPlace(t, aTable(t, opts.Dir), 100, 0)
	err := db.Scan(Scan{Whole: true}, func(_, _ []byte) (bool, error) { return true, nil })
	if proven := (damageError{}); !errors.As(fmt.Errorf("read: %w", err), &proven) || !errors.Is(err, ErrDamaged) {
		t.Fatalf("not proven: %v", err) // the spool's tests go on from here: the database is not closed then
	}
}

// A file that cannot be put in its place leaves nothing of it on the volume.
func TestAFileThatCannotBeReplacedLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kept")
	must(t, os.MkdirAll(filepath.Join(path, "taken"), 0o700)) // no file takes the place of that
	if err := replaceFile(path, []byte("x")); err == nil {
		t.Fatal("it was put in place of a directory")
	}
	if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}
