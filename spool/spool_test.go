package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// rig is a spool on a directory that can be closed and opened again.
type rig struct {
	t    *testing.T
	dir  string
	opts spool.Options
	db   *kv.DB
	*spool.Spool
}

func newRig(t *testing.T, opts spool.Options) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), opts: opts}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	db, err := kv.Open(r.t.Context(), kv.Options{Dir: filepath.Join(r.dir, "db")})
	if err != nil {
		r.t.Fatal(err)
	}
	r.opts.Dir = r.dir
	s, err := spool.Open(r.t.Context(), db, r.opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.db, r.Spool = db, s
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
	receipts, err := r.Append(r.t.Context(), drafts)
	if err != nil {
		r.t.Fatal(err)
	}
	return receipts
}

// lease leases up to n messages of topic, which must be there.
func (r *rig) lease(topic string, n int) []*spool.Lease {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
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
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Millisecond)
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
	a, err := r.Audit(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if !a.Balanced {
		r.t.Fatalf("not balanced: missing %v, damage %v, ledger %+v", a.Missing, a.Damage, a.Ledger.Total)
	}
	return a
}

func TestMessagesGoThroughInOrder(t *testing.T) {
	r := newRig(t, spool.Options{})
	for i := range 5 {
		r.accept(draft("orders", fmt.Sprint(i)))
	}
	leases := r.lease("orders", 0)
	if got := fmt.Sprint(bodies(leases)); got != "[0 1 2 3 4]" {
		t.Fatal(got)
	}
	r.none("orders")
	r.confirm(leases)
	got, err := r.Wait(t.Context(), leases[2].ID)
	if err != nil || got.State != message.StateConfirmed || got.Confirmation.OffsetMessageID != "offset-3" {
		t.Fatalf("%+v %v", got, err)
	}
	r.reopen()
	r.balanced()
	got, err = r.Receipt(t.Context(), leases[2].ID)
	if err != nil || got.State != message.StateConfirmed || got.Confirmation.Offset != 3 || got.Attempts != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	if n := r.Ledger().Total; n.Accepted != 5 || n.Confirmed != 5 || n.InSpool.Held() != 0 || n.Bytes != 0 {
		t.Fatalf("%+v", n)
	}
}

func TestHeldMessagesSurviveReopen(t *testing.T) {
	r := newRig(t, spool.Options{})
	big := string(bytes.Repeat([]byte("x"), 700<<10))
	r.accept(draft("a", "one"), draft("b", big), draft("a", "two"), draft("a", "three"))
	first := r.lease("a", 1)
	r.confirm(first)
	r.reopen()
	r.balanced()
	if got := fmt.Sprint(bodies(r.lease("a", 0))); got != "[two three]" {
		t.Fatal(got)
	}
	if got := bodies(r.lease("b", 0)); len(got) != 1 || got[0] != big {
		t.Fatal("the large body is not what it was")
	}
}
