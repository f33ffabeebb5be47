package kv

import (
	"os"
	"path/filepath"
	"slices"
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

	bytes, _, err := DropUnfinished(opts.Dir, opts.Magic)
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

// TestTablesOfACutManifestAreNotDropped: what the manifest has lost the name of is read by
// a salvage.
func TestTablesOfACutManifestAreNotDropped(t *testing.T) {
	d := newDamaged(t)
	_ = os.Remove(d.file(earlierName)) // a second name of the same file, not a copy
	cutManifest(t, d.opts.Dir)
	if bytes, kept, err := DropUnfinished(d.opts.Dir, d.opts.Magic); err != nil || bytes != 0 || kept == 0 {
		t.Errorf("dropped %d bytes, and kept %d, %v", bytes, kept, err)
	}
	wantSalvaged(t, d.opts, "", 0)
}

// TestWhatOpenRemovesIsKnownBefore: of a compaction that was not judged the smaller of
// the old tables and the new ones is counted; whatever is taken back, no less goes.
func TestWhatOpenRemovesIsKnownBefore(t *testing.T) {
	flushed := slices.Concat(encodeSet(t, 1), encodeSet(t, 2))
	for name, tc := range map[string]struct {
		sets, closing []byte
		there         []int // tables, each of 1,000 times its number in bytes
		want          int64
	}{
		"no compaction":                      {sets: flushed, there: []int{1, 2}},
		"one that was judged":                {sets: slices.Concat(flushed, encodeSet(t, 3, -1, -2)), there: []int{3}},
		"one that was not, of two":           {sets: slices.Concat(flushed, encodeSet(t, 7, -1, -2)), there: []int{1, 2, 7}, want: 3000},
		"that drops most":                    {sets: slices.Concat(encodeSet(t, 8), encodeSet(t, 2, -8)), there: []int{2, 8}, want: 2000},
		"of which a part is gone":            {sets: slices.Concat(flushed, encodeSet(t, 7, -1, -2)), there: []int{2, 7}, want: 2000},
		"one after the other":                {sets: slices.Concat(flushed, encodeSet(t, 7, -1, -2), encodeSet(t, 6, -7)), there: []int{1, 2, 6, 7}, want: 6000},
		"side by side":                       {sets: slices.Concat(flushed, encodeSet(t, 7, -1), encodeSet(t, 6, -2)), there: []int{1, 2, 6, 7}, want: 3000},
		"since a closing, taken back as one": {sets: slices.Concat(flushed, encodeSet(t, 7, -1, -2)), closing: flushed, there: []int{1, 2, 7}, want: 3000},
	} {
		t.Run(name, func(t *testing.T) {
			d := &directory{path: t.TempDir()}
			header := manifestHeaderOf(formatOf(7))
			must(t, os.WriteFile(filepath.Join(d.path, badger.ManifestFilename), slices.Concat(header, tc.sets), 0o600))
			kept := slices.Concat(header, tc.sets)
			if tc.closing != nil {
				must(t, os.WriteFile(filepath.Join(d.path, closingName), slices.Concat(header, tc.closing), 0o600))
				kept = slices.Concat(header, tc.closing)
			}
			for _, n := range tc.there {
				must(t, os.WriteFile(filepath.Join(d.path, tableFile{id: uint64(n)}.name()), make([]byte, 1000*n), 0o600))
			}
			removable, err := Removable(d.path, 7)
			if err != nil || removable != tc.want {
				t.Errorf("%d bytes, %v, want %d", removable, err, tc.want)
			}
			kept, _, err = d.takeBack(kept, true)
			must(t, err)
			sets, err := changeSets(kept)
			must(t, err)
			tables, goes := live(sets), int64(0)
			for _, n := range tc.there {
				if _, stays := tables[uint64(n)]; !stays {
					goes += int64(1000 * n)
				}
			}
			if goes < removable {
				t.Errorf("%d bytes go, %d were said to", goes, removable)
			}
		})
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
			if bytes, _, err := DropUnfinished(opts.Dir, opts.Magic); err != nil || bytes != 0 {
				t.Errorf("dropped %d bytes, %v", bytes, err)
			}
			if _, err := os.Stat(table); err != nil {
				t.Errorf("the table: %v", err)
			}
		})
	}
	if bytes, _, err := DropUnfinished(filepath.Join(t.TempDir(), "none"), 1); err != nil || bytes != 0 {
		t.Errorf("of no directory: %d bytes, %v", bytes, err)
	}
}
