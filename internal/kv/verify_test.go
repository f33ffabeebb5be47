package kv

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// Verify finds what Open would salvage, and leaves every file as it was.
func TestVerifyFindsDamageAndChangesNothing(t *testing.T) {
	d := newDamaged(t)
	if found, err := Verify(t.Context(), d.opts); err != nil || len(found) > 0 {
		t.Fatalf("a whole database: %v (%v)", found, err)
	}
	table := aTable(t, d.opts.Dir)
	flip(t, table, 1000)
	before := contents(t, d.opts.Dir)
	for range 2 {
		found, err := Verify(t.Context(), d.opts)
		if err != nil || len(found) != 1 || found[0].File != filepath.Base(table) {
			t.Fatalf("%v (%v)", found, err)
		}
		if !maps.Equal(contents(t, d.opts.Dir), before) {
			t.Fatal("files were changed")
		}
	}
	must(t, os.Remove(filepath.Join(d.opts.Dir, "MANIFEST")))
	if found, err := Verify(t.Context(), d.opts); err != nil || len(found) < 2 {
		t.Errorf("without a manifest: %v (%v)", found, err)
	}
}

func TestVerifyLeavesAnOpenDatabaseAlone(t *testing.T) {
	opts := testOptions(t.TempDir())
	openTest(t, opts)
	if _, err := Verify(t.Context(), opts); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
}

// contents are the files of a database, but for the name of its last owner.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range files {
		if f.Name() != lockName {
			data, err := os.ReadFile(filepath.Join(dir, f.Name()))
			must(t, err)
			all[f.Name()] = string(data)
		}
	}
	return all
}
