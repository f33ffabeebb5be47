package kv

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// TestUnfinishedTablesAreDropped: what no manifest ever named goes, and nothing else
// does; what a compaction was made from may be taken back.
func TestUnfinishedTablesAreDropped(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	var old string
	keys := buryDropped(t, opts, func(path string) { old = path })
	unfinished := filepath.Join(opts.Dir, tableFile{id: 900_000}.name())
	must(t, os.WriteFile(unfinished, make([]byte, 5000), 0o600))

	bytes, err := DropUnfinished(opts.Dir, opts.Magic)
	if err != nil || bytes != 5000 {
		t.Errorf("dropped %d bytes, %v", bytes, err)
	}
	if _, err := os.Stat(unfinished); err == nil {
		t.Error("the unfinished table is still there")
	}
	if _, err := os.Stat(old); err != nil {
		t.Errorf("a table that a compaction was made from: %v", err)
	}
	wantWhole(t, opts, keys)
}

// TestWhatOpenRemovesIsKnownBefore: of a compaction that was not judged, the tables that
// go are counted before they do.
func TestWhatOpenRemovesIsKnownBefore(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	keys := buryDropped(t, opts, func(string) {})
	removable, err := Removable(opts.Dir, opts.Magic)
	if err != nil || removable == 0 {
		t.Fatalf("%d bytes, %v", removable, err)
	}
	d := &directory{path: opts.Dir}
	before, err := d.tables()
	must(t, err)
	sizes := map[uint64]int64{}
	for _, f := range before {
		size, err := d.tableBytes(f.id)
		must(t, err)
		sizes[f.id] = size
	}
	wantWhole(t, opts, keys)
	after, err := d.tables()
	must(t, err)
	for _, f := range after {
		delete(sizes, f.id)
	}
	gone := int64(0)
	for _, size := range sizes {
		gone += size
	}
	if gone < removable {
		t.Errorf("%d bytes of tables went, %d were said to", gone, removable)
	}
	if removable, err := Removable(opts.Dir, opts.Magic); err != nil || removable != 0 {
		t.Errorf("of a directory that was closed: %d bytes, %v", removable, err)
	}
}

// TestUnfinishedTablesOfAnUnknownManifest: without one that can be read nothing says
// what is unfinished.
func TestUnfinishedTablesOfAnUnknownManifest(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, manifest string){
		"missing": func(t *testing.T, manifest string) { must(t, os.Remove(manifest)) },
		"damaged": func(t *testing.T, manifest string) {
			data, err := os.ReadFile(manifest)
			must(t, err)
			data[len(data)-1] ^= 1
			must(t, os.WriteFile(manifest, data, 0o600))
		},
		"with a broken one of a closing": func(t *testing.T, manifest string) {
			must(t, os.WriteFile(filepath.Join(filepath.Dir(manifest), closingName), []byte("Bdgr"), 0o600))
		},
		"of another format": func(t *testing.T, manifest string) {
			data, err := os.ReadFile(manifest)
			must(t, err)
			data[5]++
			must(t, os.WriteFile(manifest, data, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := testOptions(filepath.Join(t.TempDir(), "db"))
			filled(t, opts, 10)
			table := filepath.Join(opts.Dir, tableFile{id: 900_000}.name())
			must(t, os.WriteFile(table, make([]byte, 5000), 0o600))
			spoil(t, filepath.Join(opts.Dir, badger.ManifestFilename))
			if bytes, err := DropUnfinished(opts.Dir, opts.Magic); err != nil || bytes != 0 {
				t.Errorf("dropped %d bytes, %v", bytes, err)
			}
			if _, err := os.Stat(table); err != nil {
				t.Errorf("the table: %v", err)
			}
		})
	}
	if bytes, err := DropUnfinished(filepath.Join(t.TempDir(), "none"), 1); err != nil || bytes != 0 {
		t.Errorf("of no directory: %d bytes, %v", bytes, err)
	}
}
