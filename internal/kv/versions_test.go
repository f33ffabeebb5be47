package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/remora-mq/remora/internal/testscale"
)

// TestWhatIsSoonDeletedIsNotFlushed: of pairs that are deleted before their
// memtable is full, no table has the values.
func TestWhatIsSoonDeletedIsNotFlushed(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	for n := range 100 {
		mustCommit(t, q, put(numbered(n), strings.Repeat("v", 5000)))
		mustCommit(t, q, &write{delete: []string{numbered(n)}})
	}
	must(t, db.flush(t.Context()))
	if values := valuesInTables(t, db, ""); values > 1 { // of one the deletion may be in the next log
		t.Errorf("tables have %d values", values)
	}
}

// valuesInTables counts the values in live tables of keys that begin so.
func valuesInTables(t *testing.T, db *DB, prefix string) (values int) {
	t.Helper()
	tables, err := db.dir.liveTables(db.opts.Magic)
	if must(t, err); len(tables) == 0 {
		t.Fatal("there is no table")
	}
	for _, table := range tables {
		for _, e := range entriesOfTable(t, filepath.Join(db.opts.Dir, table.name())) {
			if !e.deleted && !hidden(e.key) && !bytes.Equal(e.key, fillKey) && strings.HasPrefix(string(e.key), prefix) {
				values++
			}
		}
	}
	return values
}

// TestWhatNoReaderSeesIsDropped: a compaction keeps what was deleted as long as a
// snapshot sees it, and no longer.
func TestWhatNoReaderSeesIsDropped(t *testing.T) {
	db := openTest(t, testOptions(filepath.Join(t.TempDir(), "db")))
	q := Attach(db, &writer{})
	layered(t, db, q)
	mustCommit(t, q, put("one", "value"))
	must(t, db.Snapshot(func(Reader) error {
		must(t, db.Snapshot(func(Reader) error { return nil })) // ends before an older one
		mustCommit(t, q, &write{delete: []string{"one"}})
		must(t, db.GiveBack(t.Context()))
		if values := valuesInTables(t, db, "one"); values != 1 {
			t.Errorf("tables have %d values, and a snapshot sees one", values)
		}
		return nil
	}))
	mustCommit(t, q, put("two", "")) // so that the next compaction reads the table with the value
	must(t, db.GiveBack(t.Context()))
	if values := valuesInTables(t, db, "one"); values != 0 {
		t.Errorf("tables have %d values, and nobody sees one", values)
	}
}

func entriesOfTable(t *testing.T, path string) (all []tableEntry) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, tableReader{
		entry:  func(e tableEntry) error { all = append(all, e); return nil },
		broken: func(_, _ int64, why error) { t.Errorf("%s: %v", path, why) },
	}.read(data))
	return all
}

// TestASnapshotStaysAsItIs overwrites and deletes what snapshots see, over flushes
// and compactions.
func TestASnapshotStaysAsItIs(t *testing.T) {
	db := openTest(t, testOptions(filepath.Join(t.TempDir(), "db")))
	q := Attach(db, &writer{})
	rng := rand.New(rand.NewPCG(3, 7))
	change := func() {
		w := &write{set: map[string]string{}}
		for range 1 + rng.IntN(5) {
			if key := numbered(rng.IntN(40)); rng.IntN(3) == 0 {
				w.delete = append(w.delete, key)
			} else {
				w.set[key] = strings.Repeat(fmt.Sprint(rng.IntN(10)), rng.IntN(20_000))
			}
		}
		for _, key := range w.delete {
			delete(w.set, key)
		}
		mustCommit(t, q, w)
	}
	for range 10 {
		change()
	}
	var look func(depth int)
	look = func(depth int) {
		must(t, db.Snapshot(func(r Reader) error {
			before := pairsOf(t, r)
			for range 20 {
				change()
			}
			if depth > 0 {
				look(depth - 1)
			}
			if rng.IntN(3) == 0 {
				must(t, db.flush(t.Context()))
				must(t, flatten(db))
			}
			if after := pairsOf(t, r); after != before {
				t.Errorf("a snapshot has changed, %d snapshots within it", depth)
			}
			return nil
		}))
	}
	for range testscale.Between(8, 60) {
		look(rng.IntN(4))
	}
}

func pairsOf(t *testing.T, r Reader) string {
	t.Helper()
	var all strings.Builder
	must(t, r.Scan(Scan{}, func(key, value []byte) (bool, error) {
		fmt.Fprintf(&all, "%s=%s\n", key, value)
		one, err := r.Get(key)
		if err != nil || !bytes.Equal(one, value) {
			t.Errorf("Get of %q differs from the scan: %v", key, err)
		}
		return true, nil
	}))
	return all.String()
}

// TestALogBeginsWithAVersion: however large the entries are, commits share a
// version within a log and never over two, and a log's first is that of its own
// number.
func TestALogBeginsWithAVersion(t *testing.T) {
	for _, most := range []int{0, 10, 300, 40_000} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			db := openTest(t, testOptions(filepath.Join(t.TempDir(), "db")))
			q := Attach(db, &writer{})
			type commit struct {
				number, version, log uint64
				rotated              bool
			}
			var commits []commit
			last := db.commitTxn
			db.commitTxn = func(txn *badger.Txn, version uint64) error {
				commits = append(commits, commit{number: db.reached + 1, version: version})
				return last(txn, version)
			}
			rng := rand.New(rand.NewPCG(uint64(most), 1))
			for logs, key := 0, 0; logs < 3; {
				w := &write{set: map[string]string{}}
				for range 1 + rng.IntN(1+20_000/(most+100)) {
					w.set[numbered(key%1000)] = strings.Repeat("v", rng.IntN(most+1))
					key++
				}
				log := db.live.id
				mustCommit(t, q, w)
				c := &commits[len(commits)-1]
				if c.log = db.live.id; c.log != log {
					c.rotated = true
					logs++
				}
			}
			shared := 0
			for n, c := range commits {
				switch {
				case c.rotated && c.version != c.number:
					t.Fatalf("log %d begins with commit %d of version %d", c.log, c.number, c.version)
				case n > 0 && c.version == commits[n-1].version:
					shared++
				case c.version != c.number:
					t.Fatalf("commit %d begins version %d", c.number, c.version)
				}
			}
			if shared < len(commits)/4 {
				t.Errorf("%d of %d commits share a version", shared, len(commits))
			}
		})
	}
}

// TestAnEarlierLayoutIsRaised opens a directory as a program of layout 0 left it,
// and one on which this was interrupted; a program of layout 0 refuses them then.
func TestAnEarlierLayoutIsRaised(t *testing.T) {
	for name, lower := range map[string]func(t *testing.T, d *directory){
		"both":         func(t *testing.T, d *directory) { lowerHead(t, d); lowerManifest(t, d) },
		"the manifest": lowerManifest,
	} {
		t.Run(name, func(t *testing.T) {
			opts := testOptions(filepath.Join(t.TempDir(), "db"))
			opts.Magic = 5
			filled(t, opts, 100)
			d, err := openDirectory(t.Context(), opts)
			must(t, err)
			lower(t, d)
			must(t, d.close())
			db := openTest(t, opts)
			wantValue(t, db, numbered(3), strings.Repeat("v", 1000))
			h, _, _, err := db.dir.readHead()
			must(t, err)
			data, err := os.ReadFile(filepath.Join(opts.Dir, badger.ManifestFilename))
			must(t, err)
			if h.magic != formatOf(5) || !bytes.HasPrefix(data, manifestHeaderOf(5)) || db.Damage() != nil {
				t.Errorf("the head says format %x, the manifest %x; %+v", h.magic, data[:manifestHeader], db.Damage())
			}
		})
	}
}

func lowerHead(t *testing.T, d *directory) {
	t.Helper()
	h, _, ok, err := d.readHead()
	if must(t, err); !ok {
		t.Fatal(errors.New("no head"))
	}
	h.magic %= 1 << layoutShift
	f, err := d.createHead(h)
	must(t, err)
	must(t, f.file.Close())
}

func lowerManifest(t *testing.T, d *directory) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(d.path, badger.ManifestFilename))
	must(t, err)
	data[4] = 0
	must(t, d.replace(badger.ManifestFilename, data))
}
