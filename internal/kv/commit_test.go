package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// hold stops the committer inside a Write until release is called, so that
// operations pile up behind it.
type hold struct {
	entered, released chan struct{}
}

func newHold() *hold { return &hold{make(chan struct{}), make(chan struct{})} }

func (h *hold) op() *write {
	return &write{do: func(tx *Tx) error {
		close(h.entered)
		<-h.released
		return nil
	}}
}

// waitQueued returns when n operations wait.
func waitQueued(t testing.TB, db *DB, n int) {
	t.Helper()
	for db.Stats().Queued < n {
		select {
		case <-t.Context().Done():
			t.Fatalf("%d of %d operations queued", db.Stats().Queued, n)
		case <-time.After(100 * time.Microsecond):
		}
	}
}

func TestCommitIsSharedByAllWhoWait(t *testing.T) {
	var commits []CommitStats
	opts := testOptions(t.TempDir())
	opts.OnCommit = func(c CommitStats) { commits = append(commits, c) }
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	h := newHold()
	var wg sync.WaitGroup
	wg.Go(func() { committed(t, q, h.op()) })
	<-h.entered
	const writers = 50
	for i := range writers {
		wg.Go(func() {
			if err := commit(q, put(numbered(i), "v")); err != nil {
				t.Error(err)
			}
		})
	}
	waitQueued(t, db, writers)
	close(h.released)
	wg.Wait()
	if len(commits) != 2 || commits[1].Ops != writers || commits[1].Bytes != writers*len("key-000000v") {
		t.Fatalf("commits %+v: want the held one and one of %d", commits, writers)
	}
	s := db.Stats()
	if s.Commits != 2 || s.Ops != writers+1 || s.LastSync == 0 || s.TotalSync < s.LastSync || s.Queued != 0 {
		t.Fatalf("stats %+v", s)
	}
	for i := range writers {
		wantValue(t, db, numbered(i), "v")
	}
}

func TestOrderOfOneCommit(t *testing.T) {
	var mu sync.Mutex
	var events []string
	say := func(s string) { mu.Lock(); events = append(events, s); mu.Unlock() }
	opts := testOptions(t.TempDir())
	opts.OnCommit = func(CommitStats) { say("stats") }
	db := openTest(t, opts)
	watch := func(name string) *writer {
		return &writer{
			onWrite:  func([]*write) error { say("write " + name); return nil },
			onSynced: func([]*write) { say("synced " + name) },
		}
	}
	sync0 := db.commitTxn
	db.commitTxn = func(txn *badger.Txn, version uint64) error { err := sync0(txn, version); say("sync"); return err }
	first, second := Attach(db, watch("a")), Attach(db, watch("b"))
	h := newHold()
	var wg sync.WaitGroup
	wg.Go(func() { committed(t, first, h.op()) })
	<-h.entered
	wg.Go(func() { committed(t, second, put("b", "")); say("answer") })
	waitQueued(t, db, 1)
	wg.Go(func() { committed(t, first, put("a", "")); say("answer") })
	waitQueued(t, db, 2)
	mu.Lock()
	events = nil
	mu.Unlock()
	close(h.released)
	wg.Wait()
	want := []string{"write a", "write b", "sync", "synced a", "synced b", "stats", "answer", "answer"}
	at := slices.Index(events, "write b") - 1
	if at < 0 || !slices.Equal(events[at:], want) {
		t.Fatalf("got %v, want it to end with %v", events, want)
	}
}

func TestNothingIsAnsweredBeforeTheSync(t *testing.T) {
	db := openTest(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	syncing, release := make(chan struct{}), make(chan struct{})
	real := db.commitTxn
	db.commitTxn = func(txn *badger.Txn, version uint64) error {
		close(syncing)
		<-release
		return real(txn, version)
	}
	answered := make(chan error, 1)
	go func() { answered <- commit(q, put("k", "v")) }()
	<-syncing
	read := make(chan error, 1)
	go func() { _, err := db.Get([]byte("k")); read <- err }()
	select {
	case <-answered:
		t.Fatal("answered before the sync")
	case <-read:
		t.Fatal("read while it was not known what is durable")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	<-read
	wantValue(t, db, "k", "v")
}

func TestQueueOrderIsKept(t *testing.T) {
	var order []string
	w := &writer{onWrite: func(ops []*write) error {
		for _, op := range ops {
			for k := range op.set {
				order = append(order, k)
			}
		}
		return nil
	}}
	db := openTest(t, testOptions(t.TempDir()))
	q := Attach(db, w)
	h := newHold()
	var wg sync.WaitGroup
	wg.Go(func() { committed(t, q, h.op()) })
	<-h.entered
	var want []string
	for i := range 20 {
		want = append(want, numbered(i))
		if i%2 == 0 {
			q.Post(put(numbered(i), ""), 10)
		} else {
			wg.Go(func() { committed(t, q, put(numbered(i), "")) })
		}
		waitQueued(t, db, i+1)
	}
	close(h.released)
	wg.Wait()
	if !slices.Equal(order, want) {
		t.Fatalf("order %v", order)
	}
}

func TestPostRidesInTheNextCommit(t *testing.T) {
	opts := testOptions(t.TempDir())
	opts.LazyDelay = time.Hour
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	q.Post(put("lazy", "1"), 5)
	if _, err := db.Get([]byte("lazy")); !errors.Is(err, ErrNotFound) {
		t.Fatalf("posted operation did not wait: %v", err)
	}
	mustCommit(t, q, put("other", "2"))
	wantValue(t, db, "lazy", "1")
	if s := db.Stats(); s.Commits != 1 || s.Ops != 2 {
		t.Fatalf("stats %+v", s)
	}
}

func TestPostDoesNotWaitLongerThanLazyDelay(t *testing.T) {
	opts := testOptions(t.TempDir())
	opts.LazyDelay = 5 * time.Millisecond
	synced := make(chan time.Time, 1)
	db := openTest(t, opts)
	q := Attach(db, &writer{onSynced: func([]*write) { synced <- time.Now() }})
	posted := time.Now()
	q.Post(put("lazy", "1"), 5)
	if waited := (<-synced).Sub(posted); waited < opts.LazyDelay {
		t.Fatalf("committed after %s, before the delay of %s", waited, opts.LazyDelay)
	}
	wantValue(t, db, "lazy", "1")
}

func TestCommitsAreCutByBytesAndCount(t *testing.T) {
	for name, size := range map[string]int{"bytes": 3 << 10, "entries": 1} {
		t.Run(name, func(t *testing.T) {
			var most CommitStats
			var ops atomic.Int64
			opts := testOptions(t.TempDir())
			opts.MaxCommit = 30 << 10
			opts.OnCommit = func(c CommitStats) {
				most.Ops = max(most.Ops, c.Ops)
				most.Bytes = max(most.Bytes, c.Bytes)
				ops.Add(int64(c.Ops))
			}
			db := openTest(t, opts)
			q := Attach(db, &writer{})
			h := newHold()
			var wg sync.WaitGroup
			wg.Go(func() { committed(t, q, h.op()) })
			<-h.entered
			const writers = 400
			value := string(make([]byte, size))
			for i := range writers {
				wg.Go(func() {
					w := put(numbered(i), value)
					if size == 1 { // as many entries as are allowed
						for j := range 7 {
							w.set[numbered(i)+string(rune('a'+j))] = ""
						}
					}
					if err := q.Commit(t.Context(), w, len(numbered(i))+size); err != nil {
						t.Error(err)
					}
				})
			}
			waitQueued(t, db, writers)
			close(h.released)
			wg.Wait()
			if ops.Load() != writers+1 || most.Ops >= writers {
				t.Fatalf("%d operations, at most %d in a commit", ops.Load(), most.Ops)
			}
			if size > 1 && (most.Bytes > db.MaxCommit() || most.Bytes < db.MaxCommit()*9/10) {
				t.Fatalf("largest commit %d bytes, limit %d", most.Bytes, db.MaxCommit())
			}
		})
	}
}

func TestTooLargeIsRefusedAlone(t *testing.T) {
	db := openTest(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	err := q.Commit(t.Context(), put("k", ""), db.MaxCommit()+1)
	if !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnknown) {
		t.Fatalf("got %v", err)
	}
	q.Post(put("k", ""), db.MaxCommit()+1)
	largest := put("k", string(make([]byte, db.MaxCommit()-1)))
	mustCommit(t, q, largest)
	if got, err := db.Get([]byte("k")); err != nil || len(got) != db.MaxCommit()-1 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// TestTheLargestCommitFits fills it with entries for which Badger counts more
// than their bytes.
func TestTheLargestCommitFits(t *testing.T) {
	db := openTest(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	op, size := &write{set: map[string]string{}}, 0
	for value := strings.Repeat("v", 100); ; {
		key := fmt.Sprintf("%08d", len(op.set))
		if size+len(key)+len(value)+EntryOverhead > db.MaxCommit() {
			break
		}
		op.set[key] = value
		size += len(key) + len(value) + EntryOverhead
	}
	if err := q.Commit(t.Context(), op, size); err != nil {
		t.Fatal(err)
	}
}

func TestCallerWhoGivesUpLearnsNothing(t *testing.T) {
	db := openTest(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	h := newHold()
	var wg sync.WaitGroup
	wg.Go(func() { committed(t, q, h.op()) })
	<-h.entered
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		err := q.Commit(ctx, put("k", "v"), 2)
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) || errors.Is(err, ErrFenced) {
			t.Errorf("got %v", err)
		}
		close(h.released)
	})
	waitQueued(t, db, 1)
	cancel()
	wg.Wait()
	mustCommit(t, q, put("later", ""))
	wantValue(t, db, "k", "v")
	if err := q.Commit(ctx, put("never", ""), 5); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknown) {
		t.Fatalf("with an ended context: %v", err)
	}
}

func TestTxSeesItsOwnWrites(t *testing.T) {
	db := openTest(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	mustCommit(t, q, put("old", "1"))
	var seen []string
	see := func(tx *Tx, key string) {
		v, err := tx.Get([]byte(key))
		if err != nil {
			v = []byte(err.Error())
		}
		seen = append(seen, string(v))
	}
	mustCommit(t, q, &write{do: func(tx *Tx) error {
		see(tx, "old")
		tx.Set([]byte("new"), []byte("2"))
		see(tx, "new")
		tx.Delete([]byte("old"))
		see(tx, "old")
		return nil
	}})
	if want := []string{"1", "2", ErrNotFound.Error()}; !slices.Equal(seen, want) {
		t.Fatalf("saw %q, want %q", seen, want)
	}
}
