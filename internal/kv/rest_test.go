package kv

import (
	"bytes"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
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

// TestFlattenWithoutItsFirstLine is a Badger that says something else: its compactors
// never rest.
func TestFlattenWithoutItsFirstLine(t *testing.T) {
	db := openTest(t, testOptions(filepath.Join(t.TempDir(), "db")))
	<-db.rest.end()
	r := newRest(new(sync.Mutex), time.Hour, db.failed)
	r.badger = db.badger
	r.look()
	if r.pause != nil {
		t.Error("they are taken for stopped")
	}
	awaitCompactors(t, 2)
}
