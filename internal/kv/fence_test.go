package kv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

var errInjected = errors.New("injected")

// openDoomed opens a database that the test will fence. The process that it
// would take to end lives on, so Badger is ended behind the database's back.
func openDoomed(t testing.TB, opts Options) *DB {
	t.Helper()
	db, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bury(t, db) })
	return db
}

func bury(t testing.TB, db *DB) {
	t.Helper()
	if db.Err() == nil {
		t.Error("the database was not fenced")
	}
	<-db.idle
	<-db.rest.ended
	db.rest.wake()
	if db.badger.IsClosed() {
		t.Error("Badger was closed on a fenced database")
	}
	if err := db.badger.Close(); err != nil {
		t.Error(err)
	}
	if err := db.dir.close(); err != nil {
		t.Error(err)
	}
}

func TestFence(t *testing.T) {
	real := commitTxn
	for name, tt := range map[string]struct {
		commit func(db *DB, txn *badger.Txn, version uint64) error
		op     *write
		size   int
		known  bool // it is known that nothing happened
	}{
		"write error":  {op: &write{set: map[string]string{"k": "v"}, do: func(*Tx) error { return errInjected }}, known: true},
		"commit error": {commit: func(*DB, *badger.Txn, uint64) error { return errInjected }},
		"sync error after the write": {commit: func(_ *DB, txn *badger.Txn, version uint64) error {
			return errors.Join(real(txn, version), errInjected)
		}},
		"failure that badger only logs": {commit: func(db *DB, txn *badger.Txn, version uint64) error {
			err := real(txn, version)
			log := badgerLog{log: db.log, fail: db.fence}
			log.Errorf("Error while curlf sync: %v\n", errInjected)
			return err
		}},
		"value for the value log": {op: &write{do: func(tx *Tx) error {
			tx.Set([]byte("k"), make([]byte, tx.inline))
			return nil
		}}, known: true},
		"more than declared": {op: &write{do: func(tx *Tx) error {
			for i := range 100_000 {
				tx.Set(fmt.Appendf(nil, "%d", i), nil)
			}
			return nil
		}}, known: true},
		"empty key": {op: &write{do: func(tx *Tx) error { tx.Delete(nil); return nil }}, known: true},
	} {
		t.Run(name, func(t *testing.T) {
			db := openDoomed(t, testOptions(t.TempDir()))
			q := Attach(db, &writer{onSynced: func(ops []*write) {
				if ops[0].do == nil && ops[0].set["k"] != "" {
					t.Error("a participant learned of a sync that failed")
				}
			}})
			h := newHold()
			var wg sync.WaitGroup
			wg.Go(func() { _ = commit(q, h.op()) })
			<-h.entered
			if tt.commit != nil {
				db.commitTxn = func(txn *badger.Txn, version uint64) error { return tt.commit(db, txn, version) }
				close(h.released) // the held commit fails
			} else {
				wg.Go(func() {
					err := commit(q, tt.op)
					if !errors.Is(err, ErrFenced) || errors.Is(err, ErrUnknown) == tt.known {
						t.Errorf("failed operation: %v", err)
					}
				})
				waitQueued(t, db, 1)
				close(h.released)
			}
			<-db.Failed()
			wg.Wait()
			wantRefusals(t, db, q)
		})
	}
}

func wantRefusals(t *testing.T, db *DB, q *Queue[*write]) {
	t.Helper()
	if err := commit(q, put("later", "")); !errors.Is(err, ErrFenced) || errors.Is(err, ErrUnknown) {
		t.Errorf("Commit: %v", err)
	}
	q.Post(put("later", ""), 5)
	if _, err := db.Get([]byte("k")); !errors.Is(err, ErrFenced) {
		t.Errorf("Get: %v", err)
	}
	if err := db.Scan(Scan{}, nil); !errors.Is(err, ErrFenced) {
		t.Errorf("Scan: %v", err)
	}
	started := time.Now()
	if err := db.Close(); !errors.Is(err, db.Err()) || err == nil {
		t.Errorf("Close: %v, want %v", err, db.Err())
	}
	if took := time.Since(started); took > time.Minute { // options.CloseWait is longer
		t.Errorf("Close took %s", took)
	}
	if _, err := os.Stat(filepath.Join(db.opts.Dir, cleanName)); err == nil {
		t.Error("marked as clean")
	}
}

func TestFenceAnswersTheCurrentCommitAndTheQueue(t *testing.T) {
	db := openDoomed(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	syncing, fail := make(chan struct{}), make(chan struct{})
	db.commitTxn = func(*badger.Txn, uint64) error {
		close(syncing)
		<-fail
		return errInjected
	}
	current, queued, read := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { current <- commit(q, put("a", "")) }()
	<-syncing
	go func() { queued <- commit(q, put("b", "")) }()
	go func() { _, err := db.Get([]byte("a")); read <- err }()
	waitQueued(t, db, 1)
	close(fail)
	if err := <-current; !errors.Is(err, ErrUnknown) || !errors.Is(err, ErrFenced) || !errors.Is(err, errInjected) {
		t.Errorf("in the commit: %v", err)
	}
	if err := <-queued; errors.Is(err, ErrUnknown) || !errors.Is(err, ErrFenced) || !errors.Is(err, errInjected) {
		t.Errorf("behind the commit: %v", err)
	}
	if err := <-read; !errors.Is(err, ErrFenced) {
		t.Errorf("read during the failing sync: %v", err)
	}
}

func TestFenceAnswersWhileTheCommitHangs(t *testing.T) {
	db := openDoomed(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	syncing, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	db.commitTxn = func(*badger.Txn, uint64) error { close(syncing); <-end; return nil }
	answer := make(chan error, 1)
	go func() { answer <- commit(q, put("a", "")) }()
	<-syncing
	log := badgerLog{log: db.log, fail: db.fence}
	log.Errorf("error flushing memtable to disk: %v, retrying", errInjected)
	if err := <-answer; !errors.Is(err, ErrUnknown) {
		t.Errorf("in the hanging commit: %v", err)
	}
	if err := db.Close(); err == nil {
		t.Error("Close of a fenced database succeeded")
	}
}

func TestFenceEndsASnapshot(t *testing.T) {
	db := openDoomed(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	mustCommit(t, q, &write{set: map[string]string{"a": "", "b": ""}})
	err := db.Snapshot(func(r Reader) error {
		seen := 0
		err := r.Scan(Scan{}, func(k, _ []byte) (bool, error) {
			seen++
			db.fence(errInjected)
			return true, nil
		})
		if seen != 1 || !errors.Is(err, ErrFenced) {
			t.Errorf("scan saw %d keys and ended with %v", seen, err)
		}
		_, err = r.Get([]byte("a"))
		return err
	})
	if !errors.Is(err, ErrFenced) {
		t.Errorf("Get in the snapshot: %v", err)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	opts := testOptions(t.TempDir())
	db, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	q := Attach(db, &writer{})
	mustCommit(t, q, put("good", "1"))
	if err := commit(q, &write{set: map[string]string{"bad": "2"}, do: func(*Tx) error { return errInjected }}); err == nil {
		t.Fatal("no error")
	}
	bury(t, db)
	db = openTest(t, opts)
	wantValue(t, db, "good", "1")
	if _, err := db.Get([]byte("bad")); !errors.Is(err, ErrNotFound) {
		t.Errorf("bad: %v", err)
	}
	if !db.Stats().Unclean {
		t.Error("a fenced stop counts as clean")
	}
	if db.dir.wasFenced() {
		t.Error("the fence's note outlived the recovery")
	}
}

func TestLoggerFencesForStorageOnly(t *testing.T) {
	for line, want := range map[string]bool{
		"[Compactor: 1] LOG Compact FAILED with error: sync MANIFEST: input/output error": true,
		"While running doCompact: write: no space left on device":                         true,
		"fp: write MANIFEST: file already closed":                                         true,
		"Block cache might be too small. Metrics: hit: 0":                                 false,
		"[Compactor: 0] LOG Compact FAILED with error: checksum mismatch":                 false,
	} {
		var got error
		log := badgerLog{log: testOptions("").withDefaults().Logger, fail: func(err error) { got = err }}
		log.Warningf("%s", line)
		if (got != nil) != want {
			t.Errorf("%q: %v", line, got)
		}
	}
	if line := logLine("%s", []any{strings.Repeat("é", maxLogLine)}); len(line) > maxLogLine+len("…") {
		t.Errorf("line of %d bytes", len(line))
	}
}

func TestCloseCommitsWhatIsQueued(t *testing.T) {
	opts := testOptions(t.TempDir())
	opts.LazyDelay = time.Hour
	db, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	q := Attach(db, &writer{})
	h := newHold()
	var wg sync.WaitGroup
	wg.Go(func() { committed(t, q, h.op()) })
	<-h.entered
	wg.Go(func() {
		if err := commit(q, put("waits", "1")); err != nil {
			t.Error(err)
		}
	})
	waitQueued(t, db, 1)
	q.Post(put("lazy", "2"), 5)
	wg.Go(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	for db.refusedWith() == nil { // until Close has begun
		time.Sleep(100 * time.Microsecond)
	}
	if err := commit(q, put("late", "")); !errors.Is(err, ErrClosed) {
		t.Errorf("Commit during Close: %v", err)
	}
	close(h.released)
	wg.Wait()
	if err := db.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := db.Get([]byte("waits")); !errors.Is(err, ErrClosed) {
		t.Errorf("Get after Close: %v", err)
	}
	db = openTest(t, opts)
	wantValue(t, db, "waits", "1")
	wantValue(t, db, "lazy", "2")
	if db.Stats().Unclean {
		t.Error("unclean after Close")
	}
}

func (db *DB) refusedWith() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.refusal()
}

func TestCloseWaitsForReads(t *testing.T) {
	opts := testOptions(t.TempDir())
	db, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	reading, release := make(chan struct{}), make(chan struct{})
	read := make(chan error, 1)
	go func() {
		read <- db.Snapshot(func(r Reader) error {
			close(reading)
			<-release
			_, err := r.Get([]byte("k"))
			return err
		})
	}()
	<-reading
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	<-db.idle
	select {
	case err := <-closed:
		t.Fatalf("Close did not wait for the reader: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	close(release)
	if err := <-read; !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestCloseIsBounded(t *testing.T) {
	opts := testOptions(t.TempDir())
	opts.CloseWait = 20 * time.Millisecond
	db, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Snapshot(func(Reader) error { return db.Close() })
	if err == nil || !strings.Contains(err.Error(), "not done within 20ms") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(opts.Dir, cleanName)); err == nil {
		t.Error("marked as clean")
	}
	<-db.keeper.end()
	<-db.rest.end()
	if err := errors.Join(db.badger.Close(), db.dir.close()); err != nil {
		t.Error(err)
	}
}
