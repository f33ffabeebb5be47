package spool_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func (r *rig) expire() {
	r.t.Helper()
	if err := r.Expire(); err != nil {
		r.t.Fatal(err)
	}
}

// settle accepts a message under a key and confirms it.
func (r *rig) settle(topic, key string) message.ID {
	r.t.Helper()
	id := r.accept(under(key, draft(topic, key)))[0].ID
	r.confirm(r.lease(topic, 0))
	return id
}

func (r *rig) known(id message.ID) bool {
	r.t.Helper()
	_, err := r.Receipt(context.Background(), id)
	if err != nil && !errors.Is(err, spool.ErrNotFound) {
		r.t.Fatal(err)
	}
	return err == nil
}

func TestReceiptsAreKeptAsLongAsPromised(t *testing.T) {
	c := newClock()
	r := newRig(t, spool.Options{Now: c.now, ReceiptsKeep: time.Hour})
	settled := r.settle("t", "a")
	held := r.accept(draft("t", "held"))[0].ID
	r.reopen()
	c.advance(59 * time.Minute)
	if r.expire(); !r.known(settled) || !r.known(held) {
		t.Fatal("a receipt went too early")
	}
	c.advance(2 * time.Minute)
	if r.expire(); r.known(settled) || !r.known(held) {
		t.Fatal("the receipt of the settled message goes, the held message stays")
	}
	if n := len(r.find("sr")); n != 0 {
		t.Fatalf("%d entries of receipts are left", n)
	}
	r.kill()
	r.balanced()
}

func TestOnlyTheNewestReceiptsAreKept(t *testing.T) {
	r := newRig(t, spool.Options{ReceiptsMax: 300})
	var ids []message.ID
	for range 4 {
		for _, got := range r.accept(repeat(256, draft("t", "x"))...) {
			ids = append(ids, got.ID)
		}
		r.confirm(r.lease("t", 0))
	}
	r.reopen()
	r.expire()
	if r.known(ids[0]) || r.known(ids[600]) || !r.known(ids[len(ids)-1]) || !r.known(ids[len(ids)-200]) {
		t.Fatal("not the oldest receipts went")
	}
}

// What is found to be old may get a new receipt before it is dropped.
func TestReceiptsOfABucketThatGrewStay(t *testing.T) {
	c := newClock()
	r := newRig(t, spool.Options{Now: c.now, ReceiptsKeep: time.Hour})
	r.settle("t", "a")
	late := r.accept(draft("t", "late"))[0].ID
	r.reopen()
	c.advance(2 * time.Hour)
	drop := r.ExpiredReceipts()
	r.confirm(r.lease("t", 0))
	r.accept(draft("t", "and the confirmation is synced"))
	if err := drop(); err != nil {
		t.Fatal(err)
	}
	if !r.known(late) {
		t.Fatal("a new receipt was dropped with the old ones")
	}
	c.advance(2 * time.Hour)
	r.expire()
	if n := len(r.find("sr")); n != 0 {
		t.Fatalf("%d entries of receipts were forgotten on disk", n)
	}
}

func TestKeyOutlivesItsReceipt(t *testing.T) {
	c := newClock()
	r := newRig(t, spool.Options{Now: c.now, ReceiptsKeep: time.Hour})
	sent := r.settle("t", "sent")
	gone := r.accept(under("gone", draft("t", "gone")))[0].ID
	if _, err := r.Cancel(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	c.advance(2 * time.Hour)
	r.reopen()
	r.expire()
	for _, how := range []func(){func() {}, r.reopen, r.kill} {
		if how(); r.known(sent) || r.known(gone) {
			t.Fatal("the receipts are still there")
		}
		again := r.accept(under("sent", draft("t", "sent")))[0]
		if !again.Duplicate || again.ID != sent || again.State != message.StateConfirmed || again.Topic != "t" || again.AcceptedAt.IsZero() {
			t.Fatalf("%+v", again)
		}
		if _, err := r.Append(t.Context(), []spool.Draft{under("gone", draft("t", "gone"))}); !errors.Is(err, spool.ErrKeySettled) {
			t.Fatal(err)
		}
	}
	c.advance(23 * time.Hour)
	r.expire()
	if n := len(r.find("sk")) + len(r.find("se")); n != 0 {
		t.Fatalf("%d entries are left of keys that are out of the window", n)
	}
	if again := r.accept(under("gone", draft("t", "gone")))[0]; again.Duplicate {
		t.Fatal("the key is not free again")
	}
}

func TestKeyOfAHeldMessageIsNeverForgotten(t *testing.T) {
	c := newClock()
	r := newRig(t, spool.Options{Now: c.now, DedupeWindow: time.Hour, DedupeLimit: 1})
	held := r.accept(under("held", draft("held", "held")))[0].ID
	settled := r.settle("t", "settled")
	r.reopen()
	for range 3 {
		c.advance(5 * time.Minute)
		r.expire()
		if got := r.accept(under("settled", draft("t", "settled")))[0]; got.ID != settled && c.now().Before(newClock().now().Add(15*time.Minute)) {
			t.Fatal("a key was forgotten within 15 minutes of the settling")
		}
	}
	before := len(r.find("sk"))
	for range 3 {
		c.advance(40 * time.Minute)
		r.expire()
		if got := r.accept(under("held", draft("held", "held")))[0]; got.ID != held {
			t.Fatal("the key of a held message was forgotten")
		}
		r.kill()
	}
	if after := len(r.find("sk")); after > before+1 {
		t.Fatalf("%d entries of keys became %d", before, after)
	}
	if n := r.accept(under("settled", draft("t", "settled")))[0]; n.Duplicate && n.ID == settled {
		t.Fatal("over the budget, and long settled: it should have gone")
	}
}

func TestDedupeWindowInEffectIsPublishedAndRemembered(t *testing.T) {
	c := newClock()
	r := newRig(t, spool.Options{Now: c.now, DedupeLimit: 1})
	if w := r.DedupeWindow(); w != 24*time.Hour {
		t.Fatal(w)
	}
	r.settle("t", "a")
	r.reopen()
	c.advance(3 * time.Hour)
	r.expire()
	for range 2 {
		if w := r.DedupeWindow(); w <= time.Hour || w > 3*time.Hour {
			t.Fatalf("the window in effect is %s: a key of 3 hours ago was dropped", w)
		}
		r.kill()
	}
}

// Keys that all have to stay must not be written again every few seconds.
func TestKeysThatStayAreNotRewritten(t *testing.T) {
	r := newRig(t, spool.Options{DedupeLimit: 1})
	for i := range 3 {
		r.accept(under(fmt.Sprint(i), draft("t", "x")))
	}
	before := r.db.Stats().Commits
	for range 5 {
		r.expire()
	}
	if n := r.db.Stats().Commits - before; n != 0 {
		t.Fatalf("%d commits", n)
	}
}

// The bound of receipts may not take along what keys need to know.
func TestKeyOutlivesTheReceiptsThatMaxDrops(t *testing.T) {
	for _, how := range []string{"running", "reopened"} {
		t.Run(how, func(t *testing.T) {
			c := newClock()
			r := newRig(t, spool.Options{Now: c.now, ReceiptsMax: 300, DedupeLimit: 1})
			r.settle("t", "k")
			r.accept(repeat(1024, draft("u", "x"))...)
			r.confirm(r.lease("u", 0))
			r.reopen()
			c.advance(10 * time.Second)
			r.expire()
			if how == "reopened" {
				r.reopen()
			}
			c.advance(14 * time.Minute)
			r.expire()
			if !r.accept(under("k", draft("t", "k")))[0].Duplicate {
				t.Fatal("a retry was stored as a second message")
			}
			c.advance(16 * time.Minute)
			r.expire()
			if r.accept(under("k", draft("t", "k")))[0].Duplicate {
				t.Fatal("the key is kept beyond its budget for good")
			}
		})
	}
}
