package spool_test

import (
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// receiptBytes is what the entries of receipts take on disk.
func (r *rig) receiptBytes() (n int64) {
	r.t.Helper()
	for _, e := range r.find("sr") {
		n += int64(len(e.key) + len(e.value))
	}
	return n
}

// A message that was dead for long, and then ended, has a low sequence and a new
// receipt: those that ended before it are forgotten first.
func TestReceiptsThatAreOldestByTheirEndGoFirst(t *testing.T) {
	for name, opts := range map[string]spool.Options{
		"above their number": {ReceiptsMax: 600},
		"above their bytes":  {ReceiptsLimit: 120_000},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, opts)
			late := r.accept(repeat(300, draft("late", "x"))...)
			for _, l := range r.leaseAll("late") {
				r.bury(l)
			}
			early := r.accept(repeat(1024, draft("early", "x"))...)
			r.confirm(r.leaseAll("early"))
			var ids []message.ID
			for _, got := range late {
				ids = append(ids, got.ID)
			}
			r.discard(ids...)
			if n := r.receiptBytes(); n < 110_000 {
				t.Fatalf("%d bytes of receipts: no limit is exceeded", n)
			}
			for _, how := range []func(){func() {}, r.reopen, r.kill} {
				how()
				if r.expire(); !r.known(late[0].ID) || !r.known(late[255].ID) {
					t.Error("a message that has just ended is forgotten")
				}
				if r.known(early[300].ID) {
					t.Error("one that ended long before is not")
				}
			}
			r.balanced()
		})
	}
}

// However long errors and histories are, receipts take no more than their bytes,
// and it is told how many that is.
func TestReceiptsAreBoundedByBytes(t *testing.T) {
	const limit = 1 << 20
	for name, keys := range map[string]int{"plain": 0, "encrypted": 1} {
		t.Run(name, func(t *testing.T) {
			opts := spool.Options{ReceiptsLimit: limit}
			if keys > 0 {
				opts.Keys = ring(keys)
			}
			r := newRig(t, opts)
			var last message.ID
			for range 12 {
				receipts := r.accept(repeat(256, draft("t", "x"))...)
				r.Retry(r.leaseAll("t"), time.Time{}, message.OutcomeRetryable, strings.Repeat("e", 900))
				last = receipts[255].ID
				r.confirm(r.leaseAll("t"))
			}
			r.flush()
			if n := r.receiptBytes(); n <= limit || r.Spool.Known().ReceiptBytes != n {
				t.Fatalf("%d bytes of receipts, %d are told", n, r.Spool.Known().ReceiptBytes)
			}
			for _, how := range []func(){func() {}, r.reopen} {
				how()
				r.expire()
				if n := r.receiptBytes(); n > limit || n < limit/2 || r.Spool.Known().ReceiptBytes != n {
					t.Errorf("%d bytes of receipts are left, %d are told; the limit is %d", n, r.Spool.Known().ReceiptBytes, limit)
				}
				if !r.known(last) {
					t.Error("the newest one went")
				}
			}
		})
	}
}

// Receipts that damage has met end as others do, and nothing else is kept for them: they
// are read where an ID may not lead to its message by itself.
func TestADamagedReceiptKeepsNothingElse(t *testing.T) {
	r, c := timed(t, spool.Options{ReceiptsKeep: time.Hour, DedupeWindow: time.Hour})
	r.accept(after(under("key", draft("t", "x")), time.Minute))
	r.pass(c, 2*time.Minute, 0)
	r.confirmAll("t")
	r.flush()
	r.damaged("sr", flipLast)
	c.advance(3 * time.Hour)
	r.expire()
	if n, keys := len(r.find("sr")), r.Known().DedupeKeys; n > 0 || keys > 0 {
		t.Errorf("%d entries of receipts and %d keys are left", n, keys)
	}
	if seen := r.Damage().Seen; len(seen) != 1 {
		t.Errorf("seen %q", seen)
	}
}
