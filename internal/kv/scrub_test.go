package kv

import (
	"bytes"
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
	data, err := os.ReadFile(path)
	must(t, err)
	data[100] ^= 1
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(data[100:101], 100)
	must(t, err)
	must(t, f.Close())

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
