package spool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// An imported message whose number damage hides is not sent without it, and none is said
// not to be there: the process starts again, and each goes with the number that it had.
func TestNumbersHiddenByDamageAreNotLeftOut(t *testing.T) {
	if !inChild(t) {
		return
	}
	const all = 6000
	from := newRig(t, spool.Options{})
	var ids []message.ID
	for n := 0; n < all; n += 500 {
		var some []spool.Draft
		for i := range 500 {
			some = append(some, draft("t", fmt.Sprint(n+i)))
		}
		for _, receipt := range from.accept(some...) {
			ids = append(ids, receipt.ID)
		}
	}
	export := from.export(spool.Query{})
	from.close()
	r := newRig(t, spool.Options{})
	r.accept(draft("other", "whose sequence is that of no imported message"))
	r.confirmAll("other")
	if done := r.take(export); done.Messages != all {
		t.Fatalf("imported %+v", done)
	}
	r.reopen()
	hide(t, r.dbDir(), "sf"+string(ids[0][:6]))
	damaged := 0
	for n := 0; n < all; n += 50 {
		id := ids[n]
		got, err := r.Receipt(t.Context(), id)
		switch {
		case errors.Is(err, spool.ErrNotFound) || err == nil && got.ID != id:
			t.Fatalf("message %s is %s, %v", id, got.State, err)
		case err != nil:
			damaged++
		}
	}
	if damaged == 0 || r.db.Err() != nil {
		t.Errorf("%d receipts cannot be read; failed: %v", damaged, r.db.Err())
	}
	sent := map[message.ID]uint64{}
	send := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		leases, err := r.Lease(ctx, "t", spool.LeaseOptions{})
		for _, l := range leases {
			if l.TopicSeq == 0 {
				t.Fatalf("message %s is sent without its number", l.ID)
			}
			sent[l.ID] = l.TopicSeq
		}
		r.confirm(leases)
		return err
	}
	for r.db.Err() == nil && len(sent) < all {
		_ = send(time.Second) // it says why the database has failed
	}
	r.restarts()
	for len(sent) < all || r.Ledger().Total.InSpool.Held() > 0 {
		if err := send(time.Minute); err != nil {
			t.Fatalf("%d are sent, then: %v", len(sent), err)
		}
		r.flush()
	}
	for n, id := range ids {
		if sent[id] != uint64(n+1) {
			t.Fatalf("message %s, number %d, was sent as number %d", id, n+1, sent[id])
		}
	}
}

// A dead letter whose number damage hides is not ended without it: the number would be a
// gap that no exception explains. That is refused, and the next start counts the damage.
func TestDiscardEndsNoDeadLetterWithoutItsNumber(t *testing.T) {
	if !inChild(t) {
		return
	}
	const all = 6000
	from := newRig(t, spool.Options{})
	var some []spool.Draft
	for n := range all {
		some = append(some, draft("t", fmt.Sprint(n)))
	}
	for few := range slices.Chunk(some, 500) {
		from.accept(few...)
	}
	var ids []message.ID
	for len(ids) < all {
		for _, l := range from.lease("t", 0) {
			from.bury(l)
			ids = append(ids, l.ID)
		}
	}
	r := newRig(t, spool.Options{})
	r.take(from.export(spool.Query{})) // the IDs lead to them by themselves, as in the spool that gave them
	r.reopen()
	hide(t, r.dbDir(), "sf"+string(ids[0][:6]))
	done, refused, err := r.Discard(t.Context(), ids)
	if err != nil || len(refused) == 0 || len(done)+len(refused) != all {
		t.Fatalf("%d are discarded, %d refused: %v", len(done), len(refused), err)
	}
	for id, why := range refused {
		if !errors.Is(why, kv.ErrDamaged) {
			t.Errorf("message %s is refused: %v", id, why)
		}
	}
	if len(r.Damage().Seen) == 0 {
		t.Error("the damage is not noticed")
	}
	told := map[message.ID]uint64{}
	for _, e := range r.exceptions("t", all) {
		told[e.ID] = e.TopicSeq
	}
	for n, id := range ids {
		if refused[id] == nil && told[id] != uint64(n+1) {
			t.Fatalf("message %s, number %d, is told as exception %d", id, n+1, told[id])
		}
	}
}

// Who takes over a spool leaves no open transaction behind that damage hides.
func TestAdoptionPassesNoHiddenTransaction(t *testing.T) {
	if !inChild(t) {
		return
	}
	const all = 300
	r, _ := timed(t, spool.Options{})
	for n := range all {
		d := prepared(fmt.Sprint("tx ", n), draft("t", "body"))
		d.Check.URL = "http://127.0.0.1:2/" + strings.Repeat("x", 1000)
		r.prepare(d)
	}
	r.reopen()
	hide(t, r.dbDir(), "sp\x00\x00\x00")
	if n, err := r.AdoptTransactions(t.Context(), ""); !errors.Is(err, spool.ErrReadOnly) {
		t.Fatalf("adopted %d, %v", n, err)
	}
	r.restarts()
	before, err := r.Transactions(t.Context(), []spool.TransactionState{spool.TransactionHalf}, "", all)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.AdoptTransactions(t.Context(), ""); err != nil || n != len(before.Items) || n == 0 {
		t.Fatalf("adopted %d, %v", n, err)
	}
	if n := r.TransactionCounts(); n.Half != 0 || n.Undecided != all {
		t.Errorf("there are %+v", n)
	}
}
