package spool_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(m.Run())
	}
	for name, value := range map[string]string{"rapid.checks": "4", "rapid.steps": "40", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil { // the command line still counts
			panic(err)
		}
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// rig is a spool on a directory that can be closed, or killed, and opened again.
type rig struct {
	t    rapid.TB
	dir  string
	life int // counts kills: each life has its own copy of the database
	opts spool.Options
	kv   kv.Options
	db   *kv.DB
	*spool.Spool

	overdrawn func() string // what a commit wrote above its declaration
	intruder  *kv.Queue[func(*kv.Tx)]
}

func newRig(t testing.TB, opts spool.Options) *rig {
	t.Helper()
	return newRigOn(t, opts, kv.Options{})
}

func newRigOn(t testing.TB, opts spool.Options, db kv.Options) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), opts: opts, kv: db}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *rig) dbDir() string { return filepath.Join(r.dir, fmt.Sprint("db", r.life)) }

func (r *rig) open() {
	r.t.Helper()
	if err := r.tryOpen(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) tryOpen() error {
	r.kv.Dir, r.opts.Dir = r.dbDir(), r.dir
	db, err := kv.Open(context.Background(), r.kv)
	if err != nil {
		return err
	}
	s, err := spool.Open(context.Background(), db, r.opts)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	r.db, r.Spool, r.intruder = db, s, nil
	r.overdrawn = spool.Overdrawn(s)
	return nil
}

func (r *rig) close() {
	if r.Spool == nil {
		return
	}
	if err := errors.Join(r.Spool.Close(), r.db.Close()); err != nil {
		r.t.Error(err)
	}
	if over := r.overdrawn(); over != "" {
		r.t.Error(over)
	}
	r.Spool = nil
}

func (r *rig) reopen() {
	r.t.Helper()
	r.close()
	r.open()
}

// kill ends the process as kill -9 does: what was written to files stays, synced
// or not, and nothing else. It opens a copy of the files as they are at this
// moment; the old process goes on with its own until it has ended.
func (r *rig) kill() {
	r.t.Helper()
	r.die()
	r.open()
}

func (r *rig) die() {
	r.t.Helper()
	from := r.dbDir()
	r.life++
	copyStill(r.t, from, r.dbDir())
	r.close()
}

// copyStill copies a directory, again if it changed meanwhile: Badger flushes
// memtables in the background. The lock is left out.
func copyStill(t rapid.TB, from, to string) {
	t.Helper()
	for range 50 {
		before := listing(t, from)
		err := copyDir(from, to)
		if err == nil && listing(t, from) == before {
			return
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the directory does not come to rest")
}

// copyDir leaves out what is zero: the files are sparse.
func copyDir(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		err = errors.Join(err, copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
	}
	return err
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	err = f.Truncate(int64(len(b)))
	at, zero := int64(0), make([]byte, 64<<10)
	for page := range slices.Chunk(b, len(zero)) {
		if !bytes.Equal(page, zero[:len(page)]) {
			_, e := f.WriteAt(page, at)
			err = errors.Join(err, e)
		}
		at += int64(len(page))
	}
	return errors.Join(err, f.Close())
}

func listing(t rapid.TB, dir string) (all string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			all += fmt.Sprintln(e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return all
}

func draft(topic, body string) spool.Draft {
	return spool.Draft{Message: message.Message{Topic: topic, Body: []byte(body)}}
}

func keyed(topic, body, orderingKey string) spool.Draft {
	d := draft(topic, body)
	d.OrderingKey = orderingKey
	return d
}

// accept appends drafts and fails the test unless all are accepted.
func (r *rig) accept(drafts ...spool.Draft) []message.Receipt {
	r.t.Helper()
	receipts, err := r.Append(context.Background(), drafts)
	if err != nil {
		r.t.Fatal(err)
	}
	return receipts
}

// lease leases up to n messages of topic, which must be there.
func (r *rig) lease(topic string, n int) []*spool.Lease {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	leases, err := r.Lease(ctx, topic, spool.LeaseOptions{MaxMessages: n})
	if err != nil {
		r.t.Fatal(err)
	}
	return leases
}

// none fails the test when something of topic can be leased.
func (r *rig) none(topic string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if leases, err := r.Lease(ctx, topic, spool.LeaseOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		r.t.Fatalf("leased %d messages (%v), want none", len(leases), err)
	}
}

func confirmations(leases []*spool.Lease) []message.Confirmation {
	out := make([]message.Confirmation, len(leases))
	for i, l := range leases {
		out[i] = message.Confirmation{MessageID: l.ID.String(), OffsetMessageID: fmt.Sprint("offset-", l.Seq), Queue: "b/0", Offset: int64(l.Seq)}
	}
	return out
}

func (r *rig) confirm(leases []*spool.Lease) { r.Confirm(leases, confirmations(leases)) }

func bodies(leases []*spool.Lease) (all []string) {
	for _, l := range leases {
		all = append(all, string(l.Body))
	}
	return all
}

// balanced fails the test unless an independent count agrees with the ledger.
func (r *rig) balanced() spool.Audit {
	r.t.Helper()
	a, err := r.Audit(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	if !a.Balanced {
		r.t.Fatalf("not balanced: missing %v, damage %v, ledger %+v", a.Missing, a.Damage, a.Ledger.Total)
	}
	return a
}

// clock is a wall clock that only the test moves.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

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

func (r *rig) bury(l *spool.Lease) {
	r.t.Helper()
	if err := r.Bury(context.Background(), l, "REFUSED", "the broker does not want it"); err != nil {
		r.t.Fatal(err)
	}
}
