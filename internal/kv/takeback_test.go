package kv

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
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

// TestADroppedTableAndADamagedOldOne damages a block of what the compaction was
// made from: what is whole in it is kept, and Badger does not remove it.
func TestADroppedTableAndADamagedOldOne(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	keys := buryDropped(t, opts, func(old string) {
		damageBlock(t, old, func(b []blockPlace) blockPlace { return b[len(b)-1] })
	})
	db := openTest(t, opts)
	if n := count(t, db); n < keys-BlockSize/9000-1 || db.Damage() == nil {
		t.Errorf("%d of %d keys are there; damage: %+v", n, keys, db.Damage())
	}
}

// TestADroppedTableAndARefusedOldOne has the system refuse one of the old tables
// at a start: that fails, and the next one has everything.
func TestADroppedTableAndARefusedOldOne(t *testing.T) {
	for name, refuse := range map[string]struct {
		put func(path string) error
		err error
	}{
		"stat": {func(path string) error { return os.Symlink(path, path) }, unix.ELOOP},
		"read": {func(path string) error { return os.Mkdir(path, 0o700) }, unix.EISDIR},
	} {
		t.Run(name, func(t *testing.T) {
			opts := testOptions(filepath.Join(t.TempDir(), "db"))
			var path string
			keys := buryDropped(t, opts, func(old string) { path = old })
			must(t, os.Rename(path, path+".kept"))
			must(t, refuse.put(path))
			if _, err := Open(t.Context(), opts); !errors.Is(err, refuse.err) || errors.Is(err, ErrDamaged) {
				t.Errorf("Open returns %v", err)
			}
			must(t, os.Remove(path))
			must(t, os.Rename(path+".kept", path))
			wantWhole(t, opts, keys)
		})
	}
}

// TestAnEarlierManifestThatIsRefused is the same for the manifest's second name.
func TestAnEarlierManifestThatIsRefused(t *testing.T) {
	d := &directory{path: t.TempDir()}
	earlier := filepath.Join(d.path, earlierName)
	data := slices.Concat(manifestHeaderOf(7), encodeSet(t, 1))
	must(t, os.Symlink(earlier, earlier))
	if _, _, err := d.takeBack(data, true); !errors.Is(err, unix.ELOOP) {
		t.Errorf("refused: %v", err)
	}
	must(t, os.Remove(earlier))
	broken := slices.Concat(manifestHeaderOf(7), encodeSet(t, 1), encodeSet(t, 2))
	broken[len(broken)-1]++
	for _, older := range [][]byte{broken, []byte("Bdg?")} {
		must(t, os.WriteFile(earlier, older, 0o600))
		if _, _, err := d.takeBack(data, false); !errors.Is(err, ErrDamaged) {
			t.Errorf("broken: %v", err)
		}
		if _, _, err := d.takeBack(data, true); err != nil {
			t.Errorf("broken, in a salvage: %v", err)
		}
	}
}

// TestZerosAtTheManifestsEnd has the place of an entry that was never synced, as a
// power loss may leave it, filled with zeros: the next run sees what its
// compactions write behind it.
func TestZerosAtTheManifestsEnd(t *testing.T) {
	opts, keys, _ := closedWithLevels(t)
	must(t, os.Remove(filepath.Join(opts.Dir, cleanName)))
	path := filepath.Join(opts.Dir, badger.ManifestFilename)
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, append(data, make([]byte, len(encodeSet(t, 100, -1, -2)))...), 0o600))

	db, err := Open(t.Context(), opts)
	must(t, err)
	must(t, flatten(db))
	if err := db.Err(); err != nil {
		bury(t, db)
		t.Fatal(err)
	}
	if n := db.compacts.count(); n == 0 {
		t.Error("no compaction was judged")
	}
	must(t, db.Close())
	wantWhole(t, opts, keys)
}

// buryDropped leaves a database whose last compaction dropped a table, and calls
// rot with its largest old table before the process is gone.
func buryDropped(t *testing.T, opts Options, rot func(old string)) (keys int) {
	t.Helper()
	db, err := Open(t.Context(), opts)
	must(t, err)
	keys = layered(t, db, Attach(db, &writer{}))
	old := largest(db)
	refuseTable(t, db)
	must(t, flatten(db))
	if err := db.Err(); !errors.Is(err, ErrStorage) {
		t.Fatalf("fenced: %v", err)
	}
	rot(old)
	bury(t, db)
	return keys
}
