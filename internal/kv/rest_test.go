package kv

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// flatten has Badger compact all levels into one, as GiveBack does.
func flatten(db *DB) error {
	db.giving.Lock()
	defer db.giving.Unlock()
	db.rest.resume()
	return db.badger.Flatten(1)
}

// compactors counts those of all databases that are open.
func compactors() int {
	stacks := make([]byte, 8<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("created by github.com/dgraph-io/badger/v4.(*levelsController).startCompact"))
}

// awaitCompactors waits until there are so many. What makes them so many is a
// goroutine's that tells nobody.
func awaitCompactors(t *testing.T, want int) {
	t.Helper()
	for began := time.Now(); compactors() != want; time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("there are %d compactors, want %d", compactors(), want)
		}
	}
}

// resting opens a database whose compactors rest from the start, and are not looked
// after by a clock.
func resting(t *testing.T) (*DB, *Queue[*write]) {
	t.Helper()
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	opts.restAfter = 24 * time.Hour
	db := openTest(t, opts)
	awaitCompactors(t, 0)
	return db, Attach(db, &writer{})
}

// TestCompactorsRest opens a database and leaves it alone, from the start and again.
func TestCompactorsRest(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	opts.restAfter = time.Millisecond
	db := openTest(t, opts)
	awaitCompactors(t, 0)
	db.rest.wake()
	awaitCompactors(t, 0)
	mustCommit(t, Attach(db, &writer{}), put("a", "b"))
	must(t, db.Close())
	wantValue(t, openTest(t, opts), "a", "b")
}

// TestCompactorsRunAgain: a commit alone does not wake them, one that begins a log does.
func TestCompactorsRunAgain(t *testing.T) {
	db, q := resting(t)
	mustCommit(t, q, put("a", "b"))
	if n := compactors(); n != 0 {
		t.Errorf("a commit in the log that there is woke %d", n)
	}
	must(t, db.rotate(t.Context()))
	awaitCompactors(t, 2)
}

// TestALateFlushIsSeen has a level become too large while nobody tells: the next look
// sees to it.
func TestALateFlushIsSeen(t *testing.T) {
	db, q := resting(t)
	<-db.rest.end()
	db.rest.look()
	awaitCompactors(t, 0)
	defer db.rest.wake()
	for keys := 0; !db.rest.due(); keys++ {
		mustCommit(t, q, put(numbered(keys), strings.Repeat("x", 9000)))
	}
	db.rest.look()
	awaitCompactors(t, 2)
	for began := time.Now(); db.compacts.count() == 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("nothing was compacted")
		}
	}
}

// TestGiveBackWhileCompactorsRest: they run once after it, and not twice.
func TestGiveBackWhileCompactorsRest(t *testing.T) {
	db, _ := resting(t)
	<-db.rest.end()
	db.rest.look()
	awaitCompactors(t, 0)
	must(t, db.GiveBack(t.Context()))
	db.rest.wake()
	awaitCompactors(t, 2)
	must(t, db.Close())
	awaitCompactors(t, 0)
}

// TestCloseWaitsForAGiveBack that has begun, and has not woken the compactors: Badger's
// Close and Flatten would both start and stop them.
func TestCloseWaitsForAGiveBack(t *testing.T) {
	db, _ := resting(t)
	db.giving.Lock()
	select {
	case <-db.rest.end():
	case <-time.After(50 * time.Millisecond): // it waits, or has not come so far
	}
	db.giving.Unlock()
	<-db.rest.end()
	awaitCompactors(t, 2)
}

// TestARunningCompactionIsNotWaitedFor, which may take long, and would be alone meanwhile.
func TestARunningCompactionIsNotWaitedFor(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	opts.restAfter = 24 * time.Hour
	db := openTest(t, opts)
	<-db.rest.end()
	haltCompaction(t, db, Attach(db, &writer{}))
	looked := make(chan struct{})
	go func() {
		db.rest.look()
		close(looked)
	}()
	select {
	case <-looked:
	case <-time.After(patience):
		t.Error("it is waited for")
	}
	if n := compactors(); n != 2 {
		t.Errorf("there are %d compactors", n)
	}
	db.compacts.mu.Unlock()
	<-looked
	db.rest.wake()
}

// haltCompaction locks db.compacts while a compaction runs, which soon waits for it, and
// without whose tables no level is too large.
func haltCompaction(t *testing.T, db *DB, q *Queue[*write]) {
	t.Helper()
	for keys := 0; keys < 200_000; {
		for range 8 {
			w := &write{set: map[string]string{}}
			for range 12 {
				w.set[numbered(keys*7919%20_000)] = strings.Repeat("x", 9000)
				keys++
			}
			mustCommit(t, q, w)
		}
		for began, idle := time.Now(), false; !idle && time.Since(began) < time.Second; time.Sleep(time.Millisecond) {
			db.compacts.mu.Lock()
			runs := len(db.compacts.running) > 0
			levels := db.badger.Levels()
			scored := slices.ContainsFunc(levels, func(l badger.LevelInfo) bool { return l.Score > 0 })
			if runs && !scored && due(levels) { // not one of level 0, whose tables are counted by nobody
				return
			}
			idle = !runs && !scored
			db.compacts.mu.Unlock()
		}
	}
	t.Fatal("no such compaction was met")
}

func TestLevelsThatAreDue(t *testing.T) {
	for name, tc := range map[string]struct {
		level badger.LevelInfo
		at    int
		want  bool
	}{
		"level 0, of fewer tables":    {badger.LevelInfo{Size: 4}, 0, false},
		"level 0":                     {badger.LevelInfo{Size: 5, Score: 1}, 0, true},
		"one that is small":           {badger.LevelInfo{Size: 4, TargetSize: 5}, 1, false},
		"one that is too large":       {badger.LevelInfo{Size: 5, TargetSize: 5, Score: 1}, 1, true},
		"one that is being compacted": {badger.LevelInfo{Size: 5, TargetSize: 5}, 1, true},
		"the last":                    {badger.LevelInfo{Size: 5, TargetSize: 5}, 2, false},
	} {
		levels := make([]badger.LevelInfo, 3)
		levels[1].TargetSize = 5
		levels[tc.at] = tc.level
		if due(levels) != tc.want {
			t.Errorf("%s: %v", name, !tc.want)
		}
	}
}

// TestFlattenWithoutItsFirstLine is a Badger that says something else: its compactors
// never rest, and it does not flatten every two seconds.
func TestFlattenWithoutItsFirstLine(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	var lines onLine
	opts.Logger = slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db := openTest(t, opts)
	<-db.rest.end()
	var flattened atomic.Int32
	lines.call(func(line string) {
		if strings.Contains(line, "Flattening done") {
			flattened.Add(1)
		}
	})
	r := newRest(new(sync.Mutex), time.Hour, db.failed)
	r.badger = db.badger
	r.look()
	r.look()
	if n := flattened.Load(); n != 1 || r.pause != nil {
		t.Errorf("flattened %d times; they are taken for stopped: %t", n, r.pause != nil)
	}
	awaitCompactors(t, 2)
}
