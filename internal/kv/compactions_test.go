package kv

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/remora-mq/remora/internal/testscale"
)

// refuseTable makes the next table that a compaction writes fail: a file of its
// name is there. Nothing may be in flight.
func refuseTable(t *testing.T, db *DB) {
	t.Helper()
	must(t, os.WriteFile(table.NewFilename(nextTable(t, db), db.dir.path), nil, 0o600))
}

// nextTable is the number of the next table.
func nextTable(t *testing.T, db *DB) (next uint64) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(db.dir.path, badger.ManifestFilename))
	must(t, err)
	sets, err := changeSets(data)
	must(t, err)
	for _, s := range sets {
		for _, c := range s.changes {
			next = max(next, c.Id+1)
		}
	}
	return next
}

// layered fills a database until there is something on two levels and nothing
// that Badger would compact by itself. It returns the number of keys.
func layered(t *testing.T, db *DB, q *Queue[*write]) (keys int) {
	t.Helper()
	for {
		for range 120 {
			mustCommit(t, q, put(numbered(keys), strings.Repeat("x", 9000)))
			keys++
		}
		must(t, db.flush(t.Context()))
		if levels := levelsOf(db); levels[0] > 0 && levels[0] < 4 && len(levels) > 1 && db.compacts.quiet() {
			return keys
		}
	}
}

// levelsOf returns how many tables there are on each level.
func levelsOf(db *DB) map[int]int {
	levels := map[int]int{}
	for _, table := range db.badger.Tables() {
		levels[table.Level]++
	}
	return levels
}

func (c *compactions) quiet() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.running) == 0 && len(c.ended) == 0 && len(c.held) == 0
}

// TestADroppedTableLosesNothing has a compaction that cannot write one of its
// tables: the database is fenced, and the next open has everything.
func TestADroppedTableLosesNothing(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db, err := Open(t.Context(), opts)
	must(t, err)
	keys := layered(t, db, Attach(db, &writer{}))
	refuseTable(t, db)
	if err := flatten(db); err != nil {
		t.Errorf("badger tells of it: %v", err)
	}
	if err := db.Err(); !errors.Is(err, ErrStorage) {
		t.Fatalf("fenced: %v", err)
	}
	bury(t, db)
	wantWhole(t, opts, keys)
}

// TestADroppedTableBeforeItIsNoticed is the same when the process is killed
// before the compaction was judged; one that lost nothing is taken back too.
func TestADroppedTableBeforeItIsNoticed(t *testing.T) {
	for _, refuse := range []bool{true, false} {
		opts := testOptions(filepath.Join(t.TempDir(), "db"))
		db, err := Open(t.Context(), opts)
		must(t, err)
		keys := layered(t, db, Attach(db, &writer{}))
		if refuse {
			refuseTable(t, db)
		}
		db.compacts.note(0) // a compaction that is in no manifest: nothing is judged
		must(t, flatten(db))
		killed := opts
		killed.Dir = filepath.Join(t.TempDir(), "db")
		must(t, os.CopyFS(killed.Dir, os.DirFS(opts.Dir)))
		wantWhole(t, killed, keys)
		db.compacts.forget()
		if err := db.Close(); errors.Is(err, ErrStorage) != refuse {
			t.Errorf("refused %t: Close returns %v", refuse, err)
		}
		if refuse {
			must(t, db.dir.close()) // the process would have ended
		}
	}
}

// TestACompactionThatFailsLate changes the manifest and then fails: the database
// is fenced, because nothing could be judged any more.
func TestACompactionThatFailsLate(t *testing.T) {
	db := openDoomed(t, testOptions(filepath.Join(t.TempDir(), "db")))
	q := Attach(db, &writer{})
	layered(t, db, q)
	newCompactions(db.dir, db.log, db.fence).said(lineFailed, []any{7, errInjected}) // before it is open
	said := db.compacts.said
	db.compacts.note(0)
	must(t, flatten(db))
	db.compacts.forget()
	db.compacts.forgetEnded()
	said(lineTable, []any{7, uint64(1), uint64(0)})
	if db.Err() != nil {
		t.Error("fenced before it has failed")
	}
	said(lineFailed, []any{7, errInjected})
	if err := db.Err(); !errors.Is(err, errUnjudged) {
		t.Errorf("fenced: %v", err)
	}
}

// forgetEnded makes the compactions that ended look as if they had failed.
func (c *compactions) forgetEnded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = nil
}

// TestADroppedTableInANewManifest is the same when the change of the compaction
// made Badger replace the manifest.
func TestADroppedTableInANewManifest(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db := openDoomed(t, opts)
	keys := layered(t, db, Attach(db, &writer{}))
	wantOneFile(t, db.dir.path, badger.ManifestFilename, earlierName)
	refuseTable(t, db)
	must(t, flatten(db))
	killed := opts
	killed.Dir = filepath.Join(t.TempDir(), "db")
	must(t, os.CopyFS(killed.Dir, os.DirFS(opts.Dir)))
	path := filepath.Join(killed.Dir, badger.ManifestFilename)
	data, err := os.ReadFile(path)
	must(t, err)
	sets, err := changeSets(data)
	must(t, err)
	last := len(sets) - 1
	must(t, os.WriteFile(filepath.Join(killed.Dir, earlierName), join(data[:manifestHeader], sets[:last]), 0o600))
	all, err := difference(nil, live(sets)).encoded()
	must(t, err)
	must(t, os.WriteFile(path, join(data[:manifestHeader], []changeSet{all}), 0o600))
	wantWhole(t, killed, keys)
}

func wantOneFile(t *testing.T, dir, one, other string) {
	t.Helper()
	a, err := os.Stat(filepath.Join(dir, one))
	must(t, err)
	b, err := os.Stat(filepath.Join(dir, other))
	must(t, err)
	if !os.SameFile(a, b) {
		t.Errorf("%s and %s are two files", one, other)
	}
}

const phantom = 99

// note and forget add and take away a compaction that has ended, and one that
// runs.
func (c *compactions) note(tables int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = append(c.ended, tables)
	c.running[phantom] = 0
}

func (c *compactions) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = c.ended[1:]
	delete(c.running, phantom)
}

func wantWhole(t *testing.T, opts Options, keys int) {
	t.Helper()
	db := openTest(t, opts)
	if n := count(t, db); n != keys {
		t.Errorf("%d of %d keys are there", n, keys)
	}
	for n := range keys {
		wantValue(t, db, numbered(n), strings.Repeat("x", 9000))
	}
	if d := db.Damage(); d != nil {
		t.Errorf("damage: %+v", d)
	}
}

// TestCompactionsAreJudged writes and deletes as fast as it can, with space
// given back meanwhile: each compaction is judged, none is doubted, and nothing
// is held when it is over.
func TestCompactionsAreJudged(t *testing.T) {
	want := testscale.Between(15, 1500)
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	var over atomic.Bool // none is seen
	wanted := func() bool { return db.Err() == nil && db.compacts.count() < want && !over.Load() }
	var wg sync.WaitGroup
	for w := range churnWriters {
		wg.Go(func() {
			for n := 0; wanted(); n++ {
				key := strconv.Itoa(w) + "/" + strconv.Itoa(n%500)
				if err := commit(q, put(key, strings.Repeat(key, 1500))); err != nil {
					t.Error(err)
				}
				if n%5 == 0 {
					mustCommit(t, q, &write{delete: []string{strconv.Itoa(w) + "/" + strconv.Itoa(n*7%500)}})
				}
			}
		})
	}
	given := 0
	for ; wanted(); given++ {
		over.Store(given > 10*want)
		if err := db.GiveBack(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	must(t, db.Close())
	if t.Logf("%d compactions judged, space given back %d times", db.compacts.count(), given); over.Load() {
		t.Errorf("too few: what Badger says is not understood")
	}
	if n := len(db.compacts.held); n > 0 {
		t.Errorf("%d iterators are held", n)
	}
	tables, err := db.dir.tables()
	must(t, err)
	data, err := os.ReadFile(filepath.Join(opts.Dir, badger.ManifestFilename))
	must(t, err)
	named, err := manifestTables(data, 0)
	must(t, err)
	logs, err := db.dir.names(".mem")
	must(t, err)
	if len(tables) != len(named) || len(logs) > 0 {
		t.Errorf("there are %d tables of %d, and the logs %v", len(tables), len(named), logs)
	}
}

func (c *compactions) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.judged
}

// TestACompactionIsJudgedWhileItCloses has Badger's Close wait for a compaction
// that drops a table: Close fails, and nothing is lost.
func TestACompactionIsJudgedWhileItCloses(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db, err := Open(t.Context(), opts)
	must(t, err)
	keys := layered(t, db, Attach(db, &writer{}))
	refuseTable(t, db)
	must(t, db.compacts.beforeClose())
	must(t, flatten(db))
	if err := db.Close(); !errors.Is(err, ErrStorage) {
		t.Errorf("Close returns %v", err)
	}
	bury(t, db)
	wantWhole(t, opts, keys)
}

// TestADamagedBlockIsNotCompactedAway damages the length of a block's checksum,
// which makes Badger's iterator end there: without a word the compaction would
// drop the rest of the table. What is whole is kept.
func TestADamagedBlockIsNotCompactedAway(t *testing.T) {
	for name, pick := range map[string]func(blocks []blockPlace) blockPlace{
		"early": func(blocks []blockPlace) blockPlace { return blocks[1] },
		"last":  func(blocks []blockPlace) blockPlace { return blocks[len(blocks)-1] },
	} {
		t.Run(name, func(t *testing.T) {
			opts := testOptions(filepath.Join(t.TempDir(), "db"))
			db, err := Open(t.Context(), opts)
			must(t, err)
			keys := layered(t, db, Attach(db, &writer{}))
			damageBlock(t, largest(db), pick)
			must(t, flatten(db))
			if err := db.Err(); !errors.Is(err, ErrDamaged) {
				t.Fatalf("fenced: %v", err)
			}
			bury(t, db)
			wantAlmostAll(t, opts, keys)
		})
	}
}

// TestAVerdictIsFinal has a compaction condemned for a block that can be read
// again a moment later: what it was made from stays until the next start.
func TestAVerdictIsFinal(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db, err := Open(t.Context(), opts)
	must(t, err)
	keys := layered(t, db, Attach(db, &writer{}))
	path := largest(db)
	whole, err := os.ReadFile(path)
	must(t, err)
	damageBlock(t, path, func(b []blockPlace) blockPlace { return b[1] })
	must(t, flatten(db))
	if err := db.Err(); !errors.Is(err, ErrDamaged) {
		t.Fatalf("fenced: %v", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(whole, 0)
	must(t, errors.Join(err, f.Close()))
	db.compacts.said(lineFailed, []any{7, errInjected}) // another one ends
	if err := db.compacts.closed(); !errors.Is(err, ErrDamaged) {
		t.Errorf("in the end: %v", err)
	}
	bury(t, db)
	wantWhole(t, opts, keys)
}

// damageBlock changes the length of a block's checksum.
func damageBlock(t *testing.T, path string, pick func([]blockPlace) blockPlace) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	index, _, err := readIndex(f)
	must(t, err)
	if len(index.blocks) < 4 {
		t.Fatalf("%d blocks", len(index.blocks))
	}
	_, err = f.WriteAt([]byte{0xff}, pick(index.blocks).to-4)
	must(t, errors.Join(err, f.Close()))
}

// largest is the largest table of the last level.
func largest(db *DB) (path string) {
	var found badger.TableInfo
	for _, info := range db.badger.Tables() {
		if info.Level > 0 && info.OnDiskSize > found.OnDiskSize {
			found = info
		}
	}
	return table.NewFilename(found.ID, db.dir.path)
}

// TestAFlushedLogBringsNothingBack finds the log of a key whose deletion a
// compaction has dropped: what held it was let go when the process died. Nor
// does a salvage bring it back.
func TestAFlushedLogBringsNothingBack(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	layered(t, db, q)
	mustCommit(t, q, put("deleted", "value"))
	log := logName(db.live.id)
	data, err := os.ReadFile(filepath.Join(opts.Dir, log))
	must(t, err)
	must(t, db.flush(t.Context()))
	mustCommit(t, q, &write{delete: []string{"deleted"}})
	must(t, db.GiveBack(t.Context()))
	mustCommit(t, q, put("newer", "value"))
	for _, died := range []string{"", "2"} {
		t.Run("died "+died, func(t *testing.T) {
			killed := opts
			killed.Dir = filepath.Join(t.TempDir(), "db")
			must(t, os.CopyFS(killed.Dir, os.DirFS(opts.Dir)))
			must(t, os.WriteFile(filepath.Join(killed.Dir, log), data, 0o600))
			if died != "" {
				must(t, os.WriteFile(filepath.Join(killed.Dir, startsName), []byte(died), 0o600))
			}
			again := openTest(t, killed)
			if v, err := again.Get([]byte("deleted")); !errors.Is(err, ErrNotFound) {
				t.Errorf("the key is back: %q, %v", v, err)
			}
			wantValue(t, again, "newer", "value")
			if again.Damage() != nil {
				t.Errorf("damage: %+v", again.Damage())
			}
		})
	}
}

// TestManifestTail reads what is added, stops at what is half written, and
// follows a manifest that is replaced, or begins with nothing.
func TestManifestTail(t *testing.T) {
	d := &directory{path: t.TempDir()}
	path := filepath.Join(d.path, badger.ManifestFilename)
	header := manifestHeaderOf(7)
	sets := [][]byte{encodeSet(t, 1, 2), encodeSet(t, 3, -1, -2), encodeSet(t, 4), encodeSet(t, 5, -3), encodeSet(t, 6)}
	must(t, os.WriteFile(path, slices.Concat(header, sets[0]), 0o600))
	tail, err := openManifestTail(d)
	must(t, err)
	want := func(counts ...string) {
		t.Helper()
		got, err := tail.read()
		must(t, err)
		var texts []string
		for _, s := range got {
			created, deleted := s.count()
			texts = append(texts, fmt.Sprint(created, "-", deleted))
		}
		if !slices.Equal(texts, counts) {
			t.Errorf("read %v, want %v", texts, counts)
		}
	}
	want()
	half := len(sets[2]) / 2
	must(t, os.WriteFile(path, slices.Concat(header, sets[0], sets[1], sets[2][:half]), 0o600))
	want("1-2")
	must(t, os.WriteFile(path, slices.Concat(header, sets[0], sets[1], make([]byte, len(sets[2]))), 0o600))
	want() // its place is there, and not yet its bytes
	must(t, os.WriteFile(path, slices.Concat(header, sets[0], sets[1], sets[2]), 0o600))
	want("1-0")
	must(t, os.WriteFile(path+".new", slices.Concat(header, encodeSet(t, 4, 5), sets[4]), 0o600)) // sets[3] made it so
	must(t, os.Rename(path+".new", path))
	want("1-1", "1-0")
	c := newCompactions(d, nil, nil)
	c.manifest = tail
	c.keepManifest()
	wantOneFile(t, d.path, badger.ManifestFilename, earlierName)
	if !maps.Equal(tail.live, map[uint64]uint32{4: 0, 5: 0, 6: 0}) {
		t.Errorf("live: %v", tail.live)
	}
	must(t, os.WriteFile(path+".new", slices.Concat(header, encodeSet(t), encodeSet(t, 7)), 0o600)) // 4, 5, 6 deleted
	must(t, os.Rename(path+".new", path))
	want("0-3", "1-0")
	must(t, tail.close())
}

// encodeSet makes an entry of the manifest; a negative number is a deletion.
func encodeSet(t *testing.T, tables ...int) []byte {
	t.Helper()
	var set pb.ManifestChangeSet
	for _, n := range tables {
		change := &pb.ManifestChange{Id: uint64(max(n, -n))}
		if n < 0 {
			change.Op = pb.ManifestChange_DELETE
		}
		set.Changes = append(set.Changes, change)
	}
	raw, err := encodeChanges(&set)
	must(t, err)
	return raw
}
