package kv

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childEnv names the mode of a re-executed test binary; see child_test.go.
const childEnv = "KV_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		os.Exit(runChild(mode))
	}
	goleak.VerifyTestMain(m)
}

// write is an operation of the tests: pairs to set, keys to delete.
type write struct {
	set    map[string]string
	delete []string
	do     func(tx *Tx) error
}

func put(key, value string) *write { return &write{set: map[string]string{key: value}} }

func (w *write) size() int {
	n := 0
	for k, v := range w.set {
		n += len(k) + len(v)
	}
	for _, k := range w.delete {
		n += len(k)
	}
	return n
}

// writer is a participant that applies writes and reports what happened.
type writer struct {
	onWrite  func(ops []*write) error
	onSynced func(ops []*write)
}

func (w *writer) Write(tx *Tx, ops []*write) error {
	for _, op := range ops {
		for k, v := range op.set {
			tx.Set([]byte(k), []byte(v))
		}
		for _, k := range op.delete {
			tx.Delete([]byte(k))
		}
		if op.do != nil {
			if err := op.do(tx); err != nil {
				return err
			}
		}
	}
	if w.onWrite != nil {
		return w.onWrite(ops)
	}
	return nil
}

func (w *writer) Synced(ops []*write) {
	if w.onSynced != nil {
		w.onSynced(ops)
	}
}

func testOptions(dir string) Options {
	return Options{Dir: dir, MemTableSize: 1 << 20, CloseWait: 2 * time.Minute} // of a disk that others have, too
}

// openTest opens a database that the test closes; it reports a failed Close.
func openTest(t testing.TB, opts Options) *DB {
	t.Helper()
	db, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return db
}

func commit(q *Queue[*write], op *write) error {
	return q.Commit(context.Background(), op, op.size())
}

// committed is mustCommit of another goroutine than the test's.
func committed(t testing.TB, q *Queue[*write], op *write) {
	t.Helper()
	if err := commit(q, op); err != nil {
		t.Errorf("commit: %v", err)
	}
}

func mustCommit(t testing.TB, q *Queue[*write], op *write) {
	t.Helper()
	if err := commit(q, op); err != nil {
		t.Fatal(err)
	}
}

func wantValue(t testing.TB, db *DB, key, want string) {
	t.Helper()
	got, err := db.Get([]byte(key))
	if err != nil || string(got) != want {
		t.Fatalf("Get(%q) = %q, %v; want %q", key, got, err, want)
	}
}

func numbered(i int) string { return fmt.Sprintf("key-%06d", i) }
