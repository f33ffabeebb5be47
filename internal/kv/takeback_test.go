package kv

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// TestADroppedTableBeforeASalvage has two starts die after a compaction dropped
// a table: the third, which salvages whatever it finds, has everything.
func TestADroppedTableBeforeASalvage(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	keys := buryDropped(t, opts, func(string) {})
	must(t, os.WriteFile(filepath.Join(opts.Dir, startsName), []byte("2"), 0o600))
	wantWhole(t, opts, keys)
}

// TestADroppedTableBesideAMissingOne has a dropped table in a database that the
// salvage finds damaged for another reason: a table is missing.
func TestADroppedTableBesideAMissingOne(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	keys := buryDropped(t, opts, func(string) {})
	path := filepath.Join(opts.Dir, badger.ManifestFilename)
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, slices.Concat(data, encodeSet(t, 999)), 0o600))
	logs, err := filepath.Glob(filepath.Join(opts.Dir, "*.mem"))
	must(t, err)
	for _, log := range logs { // all of it is in tables
		must(t, os.Remove(log))
	}
	db := openTest(t, opts)
	if n := count(t, db); n != keys || db.Damage() == nil {
		t.Errorf("%d of %d keys are there; damage: %+v", n, keys, db.Damage())
	}
}

// buryDropped leaves a database whose last compaction dropped a table, and calls
// rot with its largest old table before the process is gone.
func buryDropped(t *testing.T, opts Options, rot func(old string)) (keys int) {
	t.Helper()
	db, err := Open(t.Context(), opts)
	must(t, err)
	keys = layered(t, db, Attach(db, &writer{}))
	old := largest(t, db)
	refuseTable(t, db)
	must(t, db.badger.Flatten(1))
	if err := db.Err(); !errors.Is(err, ErrStorage) {
		t.Fatalf("fenced: %v", err)
	}
	rot(old)
	bury(t, db)
	return keys
}
