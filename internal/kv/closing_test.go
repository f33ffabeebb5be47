package kv

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// TestAChainOfCompactionsWhileItCloses has Badger compact, while it closes, what
// it has compacted since the closing began, and drop the tables of that: nothing
// holds what was compacted twice, and nothing is lost.
func TestAChainOfCompactionsWhileItCloses(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	var lines onLine
	opts.Logger = slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db, err := Open(t.Context(), opts)
	must(t, err)
	keys := threeLevels(t, db, Attach(db, &writer{}))
	must(t, db.compacts.beforeClose())
	var allow func()
	begun := 0
	lines.call(func(line string) {
		if strings.Contains(line, "Attempting to compact") {
			if begun++; begun == 2 { // of what the first one made
				allow = refuseTables(t, db)
			}
		}
	})
	must(t, flatten(db))
	lines.call(nil)
	if err := db.Close(); !errors.Is(err, ErrStorage) {
		t.Errorf("Close returns %v", err)
	}
	allow() // Badger's flush, which tries for ever
	bury(t, db)
	wantWhole(t, opts, keys)
}

// TestAKillWhileItCloses has a process killed when Badger had flushed and
// compacted, and what that made is gone: what was in use is there, logs
// included, but for the table of a flush that was under way.
func TestAKillWhileItCloses(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db, err := Open(t.Context(), opts)
	must(t, err)
	q := Attach(db, &writer{})
	keys := layered(t, db, q)
	for range 10 {
		mustCommit(t, q, put(numbered(keys), strings.Repeat("x", 9000)))
		keys++
	}
	must(t, db.compacts.beforeClose())
	killed := opts
	killed.Dir = filepath.Join(t.TempDir(), "db")
	must(t, os.CopyFS(killed.Dir, os.DirFS(opts.Dir)))
	must(t, flatten(db))
	must(t, db.Close())
	closing := filepath.Join(killed.Dir, closingName)
	before, err := os.ReadFile(closing)
	must(t, err)
	must(t, os.WriteFile(closing, slices.Concat(before, encodeSet(t, 999)), 0o600)) // the flush
	after, err := os.ReadFile(filepath.Join(opts.Dir, badger.ManifestFilename))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(killed.Dir, badger.ManifestFilename), after, 0o600))
	wantWhole(t, killed, keys)
	for _, dir := range []string{opts.Dir, killed.Dir} {
		if _, err := os.Stat(filepath.Join(dir, closingName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there when all is judged: %v", closingName, err)
		}
	}
}

// threeLevels fills a database until three levels overlap and Badger compacts
// nothing by itself.
func threeLevels(t *testing.T, db *DB, q *Queue[*write]) (keys int) {
	t.Helper()
	const some, step = 120, 13
	fill := func(from, step int, value string) {
		w := &write{set: map[string]string{}}
		for n := range some / 8 {
			w.set[numbered((from+n)*step)] = strings.Repeat(value, 9000)
		}
		mustCommit(t, q, w)
	}
	for ; keys < some*step; keys += some / 8 {
		fill(keys, 1, "x")
	}
	for n := 0; n < some; n += some / 8 {
		fill(n, step, "o") // which is seen when what is newer is gone
	}
	must(t, db.GiveBack(t.Context())) // to the last level, which is large enough for one above
	for {
		for n := 0; n < some; n += some / 8 {
			fill(n, step, "x")
		}
		must(t, db.flush(t.Context()))
		if levels := levelsOf(db); levels[0] > 0 && levels[0] < 4 && len(levels) > 2 && db.compacts.quiet() {
			return keys
		}
	}
}

// onLine is a log whose lines are told to a function.
type onLine struct {
	mu sync.Mutex
	to func(line string)
}

func (l *onLine) call(to func(line string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
}

func (l *onLine) Write(line []byte) (int, error) {
	l.mu.Lock()
	to := l.to
	l.mu.Unlock()
	if to != nil {
		to(string(line))
	}
	return len(line), nil
}

// refuseTables makes all tables fail that are written from here on.
func refuseTables(t *testing.T, db *DB) (allow func()) {
	t.Helper()
	var paths []string
	next := nextTable(t, db)
	for id := next; id < next+100; id++ {
		paths = append(paths, table.NewFilename(id, db.dir.path))
	}
	for _, path := range paths {
		must(t, os.WriteFile(path, nil, 0o600))
	}
	return func() {
		for _, path := range paths {
			must(t, os.Remove(path))
		}
	}
}
