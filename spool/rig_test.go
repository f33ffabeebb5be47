package spool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// rig is a spool on a directory that can be closed, or killed, and opened again.
type rig struct {
	t    testing.TB
	dir  string
	life int // counts kills: each life has its own copy of the database
	opts spool.Options
	kv   kv.Options
	db   *kv.DB
	*spool.Spool
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
	r.db, r.Spool = db, s
	return nil
}

func (r *rig) close() {
	if r.Spool == nil {
		return
	}
	if err := errors.Join(r.Spool.Close(), r.db.Close()); err != nil {
		r.t.Error(err)
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
func copyStill(t testing.TB, from, to string) {
	t.Helper()
	for range 50 {
		before := listing(t, from)
		err := os.CopyFS(to, os.DirFS(from))
		if err == nil && listing(t, from) == before {
			return
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the directory does not come to rest")
}

func listing(t testing.TB, dir string) (all string) {
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
