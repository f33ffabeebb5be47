package spool_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
)

// entry of the database.
type entry struct{ key, value []byte }

// find returns the entries whose keys begin with prefix.
func (r *rig) find(prefix string) (all []entry) {
	r.t.Helper()
	err := r.db.Scan(kv.Scan{Prefix: []byte(prefix)}, func(k, v []byte) (bool, error) {
		all = append(all, entry{bytes.Clone(k), bytes.Clone(v)})
		return true, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// behind changes the database behind the spool's back.
func (r *rig) behind(do func(tx *kv.Tx)) {
	r.t.Helper()
	if err := r.attach().Commit(context.Background(), do, 64<<10); err != nil {
		r.t.Fatal(err)
	}
}

// committed waits for a commit that has all in it that was posted before.
func (r *rig) committed() {
	r.t.Helper()
	r.behind(func(*kv.Tx) {})
}

// fence makes the database fail, for good: it can only be done in a child.
func (r *rig) fence() {
	r.t.Helper()
	tooLarge := func(tx *kv.Tx) { tx.Set([]byte("zz"), make([]byte, r.db.MaxValue()+1)) }
	if err := r.attach().Commit(context.Background(), tooLarge, 1<<10); !errors.Is(err, kv.ErrFenced) {
		r.t.Fatal(err)
	}
	r.Spool = nil // a fenced database is not closed
}

// childEnv is set in a test binary that runs one test in a process of its own.
const childEnv = "SPOOL_TEST_CHILD"

// inChild runs the test in another process: a fenced database leaves Badger's
// goroutines behind. It returns true there.
func inChild(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childEnv) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// hold occupies the committer until goOn is called: what is asked meanwhile is
// announced in memory and not yet written.
func (r *rig) hold() (goOn func()) {
	r.t.Helper()
	held, end := make(chan struct{}), make(chan struct{})
	r.attach().Post(func(*kv.Tx) { close(held); <-end }, 1<<10)
	<-held
	return sync.OnceFunc(func() { close(end) })
}

func (r *rig) attach() *kv.Queue[func(*kv.Tx)] {
	if r.intruder == nil {
		r.intruder = kv.Attach(r.db, intruder{})
	}
	return r.intruder
}

// intruder is a second participant in the commits.
type intruder struct{}

func (intruder) Write(tx *kv.Tx, ops []func(*kv.Tx)) error {
	for _, do := range ops {
		do(tx)
	}
	return nil
}

func (intruder) Synced([]func(*kv.Tx)) {}

// plant writes an entry as it is.
func (r *rig) plant(e entry) { r.behind(func(tx *kv.Tx) { tx.Set(e.key, e.value) }) }
