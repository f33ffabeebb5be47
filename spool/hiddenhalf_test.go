package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// A half message that damage hides is none that is half no more: its broker is not told
// to roll it back, its confirmation does not end the transaction without it, and no
// decision passes it over.
func TestHalfMessagesHiddenByDamageStay(t *testing.T) {
	const hidden = "tx 30"
	commit := func(r *rig) { r.decided(hidden, spool.TransactionCommitted) }
	for name, tt := range map[string]struct {
		before func(*rig)
		meet   func(*testing.T, *rig) // what must end the process
	}{
		"when its broker is told": {commit, func(t *testing.T, r *rig) {
			for _, end := range dueEnds(r) {
				if end.ID == hidden && !end.Commit {
					t.Error("its broker would be told to roll it back")
				}
			}
		}},
		"when its broker has confirmed": {
			func(r *rig) { commit(r); r.dueEnd(true) },
			func(t *testing.T, r *rig) {
				if x, err := r.EndedHalf(t.Context(), hidden, spool.Told{Place: placed(1), Commit: true}); !errors.Is(err, spool.ErrReadOnly) {
					t.Errorf("it is %s, %v", x.State, err)
				}
			},
		},
		"when its broker has lost it": {
			func(r *rig) { commit(r); r.dueEnd(true) },
			func(t *testing.T, r *rig) {
				if x, err := r.EndedHalf(t.Context(), hidden, spool.Told{Place: placed(1), Commit: true, Gone: true}); !errors.Is(err, spool.ErrReadOnly) {
					t.Errorf("it is %s, %v", x.State, err)
				}
			},
		},
		"when it is rolled back": {func(*rig) {}, func(t *testing.T, r *rig) {
			if x, err := r.decide(hidden, spool.TransactionRolledBack); !errors.Is(err, spool.ErrReadOnly) {
				t.Errorf("it is %s, %v", x.State, err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if !inChild(t) {
				return
			}
			r, _ := timed(t, spool.Options{})
			var of message.ID
			for n := range 60 {
				id := fmt.Sprint("tx ", n)
				x := r.prepareAtBroker(id, draft("t", fmt.Sprintf("body %02d %s", n, strings.Repeat("x", 3000))))
				if id == hidden {
					of = x.Messages[0]
				}
			}
			r.reopen()
			tt.before(r)
			hide(t, r.dbDir(), "body 30 ")
			tt.meet(t, r)
			r.restarts()
			if _, err := r.decide(hidden, spool.TransactionCommitted); err != nil {
				t.Fatal(err)
			}
			if end := r.dueEnd(true); end.ID != hidden {
				t.Fatalf("to be ended is %s", end.ID)
			}
			r.ended(hidden, spool.Told{Place: placed(1), Commit: true})
			r.are([]message.ID{of}, message.StateConfirmed)
		})
	}
}

// dueEnds is what is to be ended, or nothing where that cannot be read.
func dueEnds(r *rig) []spool.HalfEnd {
	all, _ := r.DueEnds(context.Background(), 100)
	return all
}

// The payload of a redriven message that damage hides is waited for by no process: the
// next one sends it with all others.
func TestRedrivenPayloadsHiddenByDamageAreSent(t *testing.T) {
	if !inChild(t) {
		return
	}
	const all = 6000
	r, c := timed(t, spool.Options{Window: 64 << 10})
	var ids []message.ID
	for n := 0; n < all; n += 1000 {
		for _, receipt := range r.accept(apart(n, func(n int) spool.Draft { return mortal(draft("t", fmt.Sprint(n, " ")), time.Hour) })...) {
			ids = append(ids, receipt.ID)
		}
	}
	c.advance(2 * time.Hour)
	r.WakeDue()
	r.awaitDead(all)
	r.redrive(ids...)
	r.reopen()
	hide(t, r.dbDir(), payloadPlaces)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil && r.db.Err() == nil {
		leases, _ := r.Lease(ctx, "t", spool.LeaseOptions{})
		r.confirm(leases)
	}
	r.restarts()
	left := int(r.Ledger().Total.InSpool.Held()) // of the last it may not be written that they were confirmed
	if left == 0 || left == all {
		t.Errorf("%d of %d messages are left", left, all)
	}
	for left > 0 {
		leases := r.lease("t", 0)
		r.confirm(leases)
		left -= len(leases)
	}
}

// An export has what can be read, says that there is more, and ends no process.
func TestAnExportPassesHiddenPayloadsOfHalfMessages(t *testing.T) {
	if !inChild(t) {
		return
	}
	const all = 7000
	r := newRig(t, spool.Options{})
	for n := 0; n < all; n += 500 {
		var some []spool.Draft
		for i := range 500 {
			some = append(some, draft("t", fmt.Sprint(n+i, strings.Repeat(".", 700))))
		}
		r.prepare(prepared(fmt.Sprint("tx ", n), some...))
	}
	r.reopen()
	hide(t, r.dbDir(), payloadPlaces)
	r.rests()
	var file bytes.Buffer
	done, err := r.Export(t.Context(), &file, spool.Query{})
	if err != nil || done.Unreadable == 0 || done.Transactions == 0 || r.db.Err() != nil {
		t.Errorf("%+v, %v; failed: %v", done, err, r.db.Err())
	}
	if n := bytes.Count(file.Bytes(), []byte(`"state":"half"`)) - done.Transactions; n != all-done.Unreadable {
		t.Errorf("%d half messages are exported, and %d are not", n, done.Unreadable)
	}
}
