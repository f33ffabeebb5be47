package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"golang.org/x/sys/unix"
)

// TestSalvagedLogKeepsWhatCanBeRead flips a bit of a log of several commits:
// all of their entries but the one that was hit are in the cleaned log.
func TestSalvagedLogKeepsWhatCanBeRead(t *testing.T) {
	for name, versionOf := range versionings {
		t.Run(name, func(t *testing.T) { wantFlipsSalvaged(t, versionOf) })
	}
}

// versionings are versions that commits can have, by their numbers.
var versionings = map[string]func(number uint64) uint64{
	"own":    func(number uint64) uint64 { return number },
	"shared": func(uint64) uint64 { return 1 },
	"both":   func(number uint64) uint64 { return []uint64{0, 1, 1, 1, 4, 5, 5, 7, 7, 7}[number] },
}

func wantFlipsSalvaged(t *testing.T, versionOf func(number uint64) uint64) {
	t.Helper()
	s, rng := newSeals(), rand.New(rand.NewPCG(5, 5))
	log, want := make([]byte, walHeader), map[string]uint64{}
	for number := uint64(1); number <= 8; number++ {
		version := versionOf(number)
		for n := range 1 + rng.IntN(6) {
			key := fmt.Sprintf("%d/%d", number, n)
			want[key] = version
			log = appendEntry(log, bitTxn, []byte(key), version, bytes.Repeat(appendEnd(nil, version+2), rng.IntN(20)))
		}
		log = appendEnd(appendEntry(log, bitTxn, sealKey, version, s.of(number)), version)
	}
	cost := map[int]int{}
	for at := walHeader; at < len(log); at += 1 + rng.IntN(5) {
		broken := bytes.Clone(log)
		broken[at] ^= 1 << rng.IntN(8)
		salvage := salvagedLogs{sealed: s, most: 100, acked: 8}
		found := entriesOfLog(t, salvage.clean(broken))
		missing := maps.Clone(want)
		for key, version := range found {
			if want[key] != version {
				t.Fatalf("flip at %d: an entry %q of version %d that nobody wrote", at, key, version)
			}
			delete(missing, key)
		}
		cost[len(missing)]++
		if n := len(salvage.lost); len(missing) > 1 || n == 0 || n > 2 { // the commit after a broken end may be whole or not
			t.Errorf("flip at %d: %v are gone, commits %v", at, missing, salvage.lost)
		}
	}
	if t.Logf("flips by the entries they cost: %v", cost); cost[1] == 0 {
		t.Error("no flip cost anything")
	}
}

// replaySize is the size of the transaction that Badger replays from b; 0: none.
func replaySize(b []byte) int {
	first, ok := readEntry(b)
	size, whole := follow(b, first.version)
	if !ok || !whole || size == first.size {
		return 0
	}
	return size
}

// entriesOfLog replays a log as Badger does, and demands that all of it can be.
func entriesOfLog(t *testing.T, log []byte) map[string]uint64 {
	t.Helper()
	found := map[string]uint64{}
	for at := walHeader; at < len(log); {
		size := replaySize(log[at:])
		if size == 0 {
			t.Fatalf("byte %d of %d cannot be replayed", at, len(log))
		}
		for end := at + size; at < end; {
			e, _ := readEntry(log[at:])
			if !e.ends() && !bytes.Equal(e.key, sealKey) {
				found[string(e.key)] = e.version
			}
			at += e.size
		}
	}
	return found
}

// TestSalvageTakesNoOlderVersion breaks the index of a table that holds old
// versions of keys: newer ones and deletions in other files stay in force.
func TestSalvageTakesNoOlderVersion(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	opts.Magic = 3
	filled(t, opts, 900) // one table
	old := aTable(t, opts.Dir)
	db, err := Open(t.Context(), opts)
	must(t, err)
	q := Attach(db, &writer{})
	mustCommit(t, q, &write{set: map[string]string{numbered(1): "newer"}, delete: []string{numbered(2)}})
	must(t, db.Close())
	flip(t, old, -100)
	db = openTest(t, opts)
	wantValue(t, db, numbered(1), "newer")
	wantValue(t, db, numbered(3), strings.Repeat("v", 1000))
	if _, err := db.Get([]byte(numbered(2))); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted key is back: %v", err)
	}
	if d := db.Damage(); d == nil || d.Restored < 890 {
		t.Errorf("%+v", d)
	}
}

// TestStartsThatDied: a start that dies leaves its count; the next reads every
// block, the one after that takes a fresh directory, and neither blames a
// healthy database.
func TestStartsThatDied(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 2300)
	count := func(died string) { must(t, os.WriteFile(filepath.Join(opts.Dir, startsName), []byte(died), 0o600)) }
	for _, died := range []string{"1", "2", ""} {
		count(died)
		inode := birth(t, opts.Dir)
		db, err := Open(t.Context(), opts)
		must(t, err)
		if got := len(keysOf(t, db, Scan{})); got != 2300 || db.Damage() != nil {
			t.Errorf("died %q: %d keys, %+v", died, got, db.Damage())
		}
		if moved := birth(t, opts.Dir) != inode; moved != (died == "2") {
			t.Errorf("died %q: moved %t", died, moved)
		}
		if _, err := os.Stat(filepath.Join(opts.Dir, startsName)); err == nil {
			t.Errorf("died %q: the count is still there", died)
		}
		must(t, db.Close())
	}
	// What only a look at every block shows.
	flip(t, aTable(t, opts.Dir), 5000)
	count("1")
	wantFound(t, opts, ".sst bytes")
}

func wantFound(t *testing.T, opts Options, text string) {
	t.Helper()
	db := openTest(t, opts)
	if d := db.Damage(); d == nil || !strings.Contains(describe(d.Found), text) {
		t.Errorf("%+v", d)
	}
}

// TestFailedStartsAreNotDead: an Open that returns an error does not count.
func TestFailedStartsAreNotDead(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 10)
	other := opts
	other.Magic = 9
	for range 3 {
		if _, err := Open(t.Context(), other); !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(opts.Dir, startsName)); err == nil {
		t.Error("the count is still there")
	}
}

// TestInterruptedSalvage leaves what a crash does at its steps.
func TestInterruptedSalvage(t *testing.T) {
	original := newDamaged(t)
	t.Run("before the directories changed places", func(t *testing.T) {
		d := original.copy(t)
		flip(t, d.log, 20_000)
		must(t, os.MkdirAll(d.opts.Dir+freshSuffix, 0o700))
		must(t, os.WriteFile(filepath.Join(d.opts.Dir+freshSuffix, unfinishedName), nil, 0o600))
		wantSalvaged(t, d.opts, "and commit", 1)
	})
	t.Run("after it", func(t *testing.T) {
		d, broken := original.copy(t), original.copy(t)
		must(t, os.Rename(broken.opts.Dir, d.opts.Dir+freshSuffix))
		db := openTest(t, d.opts)
		if db.Damage() != nil {
			t.Error("the healthy one is blamed")
		}
		left, err := filepath.Glob(filepath.Join(filepath.Dir(d.opts.Dir), "quarantine", "*", "*.mem"))
		left = slices.DeleteFunc(left, isEmpty)
		if err != nil || len(left) != 1 {
			t.Errorf("quarantine has %v, %v", left, err)
		}
	})
}

// TestQuarantineThatCannotBe is a file, or on another file system: the database
// opens all the same, and the evidence stays beside it.
func TestQuarantineThatCannotBe(t *testing.T) {
	d := newDamaged(t).copy(t)
	d.opts.QuarantineDir = filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(d.opts.QuarantineDir, nil, 0o600))
	flip(t, d.log, 20_000)
	wantFound(t, d.opts, "and commit")
	left, err := filepath.Glob(d.opts.Dir + ".quarantine-*")
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestLockOfAReplacedDirectory: who waited for the old directory's lock gets
// the new one's.
func TestLockOfAReplacedDirectory(t *testing.T) {
	root := t.TempDir()
	dir, fresh := filepath.Join(root, "db"), filepath.Join(root, "fresh")
	must(t, errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(fresh, 0o700)))
	old, err := lockDir(t.Context(), dir, 0)
	must(t, err)
	held, err := lockDir(t.Context(), fresh, 0)
	must(t, err)
	got := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		f, err := lockDir(ctx, dir, time.Minute)
		if err == nil {
			err = errors.Join(errors.New("locked"), f.Close())
		}
		got <- err
	}()
	time.Sleep(2 * lockRetry) // it waits for the old one; if not yet, the test proves less
	must(t, unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE))
	must(t, old.Close())
	select {
	case err := <-got:
		t.Errorf("got in beside the holder of the new directory: %v", err)
	case <-time.After(3 * lockRetry):
	}
	cancel()
	if err := <-got; !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
	must(t, held.Close())
}

// TestBytesOfAMessageEndNoCommit breaks the seal of a commit that has in a message
// what looks like the end of a commit before.
func TestBytesOfAMessageEndNoCommit(t *testing.T) {
	s := newSeals()
	log := append(sealedCommit(s, make([]byte, walHeader), 1, 1), sealedCommit(s, nil, 2, 1)...)
	forged := appendEnd(appendEntry(nil, bitTxn, []byte("forged"), 1, []byte("x")), 1)
	log = appendEntry(log, bitTxn, []byte("a"), 3, slices.Concat([]byte("text"), forged, []byte("text")))
	seal := len(log)
	log = appendEntry(log, bitTxn, sealKey, 3, s.of(3))
	log = appendEnd(appendEntry(log, bitTxn, []byte("b"), 3, []byte("v")), 3)
	log = append(log, make([]byte, pageSize)...)
	for at := seal; at < seal+shapedHeader+len(sealKey); at++ {
		broken := bytes.Clone(log)
		broken[at] ^= 4
		salvage := salvagedLogs{sealed: s, most: 100, acked: 3}
		found := entriesOfLog(t, salvage.clean(broken))
		if _, ok := found["forged"]; ok || found["a"] != 3 || found["b"] != 3 {
			t.Errorf("a bit of byte %d of the seal: %v", at-seal, found)
		}
	}
}

// TestATornCommitIsNoPartOfTheOneBefore: of commits that share a version the last
// was never acknowledged, and of the one before the seal is broken.
func TestATornCommitIsNoPartOfTheOneBefore(t *testing.T) {
	s := newSeals()
	log := append(sealedCommit(s, make([]byte, walHeader), 1, 1), sealedCommit(s, nil, 2, 1)...)
	last := sealedCommit(s, nil, 3, 1)
	last[bytes.Index(last, sealKey)+2] ^= 4
	log = append(append(log, last...), make([]byte, 300)...)
	log = appendEnd(appendEntry(log, bitTxn, []byte("torn"), 1, []byte("v")), 1)
	salvage := salvagedLogs{sealed: s, most: 100, acked: 3}
	if found := entriesOfLog(t, salvage.clean(log)); len(found) != 3 || found["torn"] > 0 {
		t.Errorf("%v", found)
	}
}

// sealedCommit appends a commit with one entry of its own.
func sealedCommit(s *seals, log []byte, number, version uint64) []byte {
	log = appendEntry(log, bitTxn, fmt.Appendf(nil, "of %d", number), version, []byte("v"))
	return appendEnd(appendEntry(log, bitTxn, sealKey, version, s.of(number)), version)
}

// TestACutManifestBesideALog: the manifest names tables that were compacted away
// since, the one with the newest seal among them; what took their place is read.
func TestACutManifestBesideALog(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	layered(t, db, q)
	must(t, db.GiveBack(t.Context()))
	for n := range 120 {
		mustCommit(t, q, put("flushed"+numbered(n), strings.Repeat("y", 5000)))
	}
	must(t, db.flush(t.Context()))
	mustCommit(t, q, put("late", "in the log"))
	killed := testOptions(filepath.Join(t.TempDir(), "db"))
	must(t, os.CopyFS(killed.Dir, os.DirFS(opts.Dir)))
	_ = os.Remove(filepath.Join(killed.Dir, earlierName))
	path := filepath.Join(killed.Dir, badger.ManifestFilename)
	data, err := os.ReadFile(path)
	must(t, err)
	sets, err := changeSets(data)
	must(t, err)
	var older pb.ManifestChangeSet
	gone := false
	for id, level := range live(sets) {
		r, err := checkTable(filepath.Join(killed.Dir, tableFile{id: id}.name()))
		if must(t, err); r.sealed > 0 {
			if gone {
				continue
			}
			id, gone = id+90_000, true
		}
		older.Changes = append(older.Changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_CREATE, Level: level})
	}
	raw, err := encodeChanges(&older)
	must(t, err)
	must(t, os.WriteFile(path, append(data[:manifestHeader:manifestHeader], raw...), 0o600))
	again := openTest(t, killed)
	flushed := 0
	must(t, again.Scan(Scan{Prefix: []byte("flushed")}, func(_, _ []byte) (bool, error) { flushed++; return true, nil }))
	wantValue(t, again, "late", "in the log")
	if d := again.Damage(); flushed != 120 || d == nil || !strings.Contains(describe(d.Found), "may be gone") {
		t.Errorf("%d of 120 keys of %d tables; %+v", flushed, len(live(sets)), d)
	}
}
