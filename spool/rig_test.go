package spool_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(m.Run())
	}
	checks, steps := testscale.Between(4, 1000), testscale.Between(40, 100)
	// Tests that are parallel wait for the disk: more of them than there are cores.
	for name, value := range map[string]string{"rapid.checks": strconv.Itoa(checks), "rapid.steps": strconv.Itoa(steps), "rapid.nofailfile": "true", "test.parallel": "8"} {
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

	recall    int           // how many of the last idempotency keys are in memory: none, so that nearly all are read
	overdrawn func() string // what a commit wrote above its declaration
	intruder  *kv.Queue[func(*kv.Tx)]
}

func newRig(t testing.TB, opts spool.Options) *rig {
	t.Helper()
	return newRigOn(t, opts, kv.Options{})
}

func newRigOn(t testing.TB, opts spool.Options, db kv.Options) *rig {
	t.Helper()
	if opts.Now != nil && opts.Elapsed == nil { // one clock for both
		began := opts.Now()
		opts.Elapsed = func() time.Duration { return opts.Now().Sub(began) }
	}
	db.CloseWait = cmp.Or(db.CloseWait, 2*time.Minute) // of a disk that others have, too
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
	r.kv.Dir, r.opts.Dir, r.kv.Owner = r.dbDir(), r.dir, spool.Owner(r.opts.Keys)
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
	spool.RecallKeys(s, r.recall)
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	leases, err := r.Lease(ctx, topic, spool.LeaseOptions{MaxMessages: n})
	if err != nil {
		r.t.Fatal(err)
	}
	return leases
}

// leaseRest leases of a topic until nothing more comes.
func (r *rig) leaseRest(topic string) (all []*spool.Lease) {
	for {
		leases, err := r.leaseNow(topic, 1000)
		if err != nil {
			return all
		}
		all = append(all, leases...)
	}
}

// none fails the test when something of topic can be leased.
func (r *rig) none(topic string) {
	r.t.Helper()
	if leases, err := r.leaseNow(topic, 0); !errors.Is(err, context.DeadlineExceeded) {
		r.t.Fatalf("leased %d messages (%v), want none", len(leases), err)
	}
}

// leaseNow leases what may be leased, however long finding it takes, and gives up
// once there was nothing to do for 20 ms.
func (r *rig) leaseNow(topic string, n int) ([]*spool.Lease, error) {
	ctx := &idleDeadline{Context: context.Background()}
	defer ctx.stop()
	return r.Lease(ctx, topic, spool.LeaseOptions{MaxMessages: n})
}

// idleDeadline is a context that ends when it was waited for 20 ms in a row: work
// between two waits does not count. One goroutine uses it.
type idleDeadline struct {
	context.Context

	timer *time.Timer
	ended *atomic.Bool
}

func (c *idleDeadline) Done() <-chan struct{} {
	c.stop()
	done, ended := make(chan struct{}), new(atomic.Bool)
	c.ended = ended
	c.timer = time.AfterFunc(20*time.Millisecond, func() {
		ended.Store(true)
		close(done)
	})
	return done
}

// Err is what is asked when a wait has ended, or before one.
func (c *idleDeadline) Err() error {
	c.stop()
	if c.ended != nil && c.ended.Load() {
		return context.DeadlineExceeded
	}
	return nil
}

func (c *idleDeadline) stop() {
	if c.timer != nil {
		c.timer.Stop()
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

func (r *rig) bury(l *spool.Lease) {
	r.t.Helper()
	if err := r.Bury(context.Background(), l, "REFUSED", "the broker does not want it"); err != nil {
		r.t.Fatal(err)
	}
}
