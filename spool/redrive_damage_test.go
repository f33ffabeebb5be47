package spool_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// A dead letter that cannot be read is named, keeps no other from being redriven,
// and is counted as lost by the next start. So is one that was redriven.
func TestDamagedDeadLetterStopsNoOther(t *testing.T) {
	for _, redriven := range []bool{false, true} {
		t.Run(fmt.Sprint("redriven ", redriven), func(t *testing.T) {
			r := newRig(t, spool.Options{})
			bad, good := r.letter(draft("t", "bad")), r.letter(draft("t", "good"))
			if redriven {
				r.redrive(bad)
			}
			r.damaged("sd", flipLast)
			page, err := r.List(t.Context(), spool.Query{})
			if err != nil || len(page.Items) != 1 || page.Unreadable != 1 {
				t.Fatalf("%+v, %v", page, err)
			}
			if seen := r.Damage().Seen; len(seen) != 1 || !strings.HasPrefix(seen[0], "dead letter of topic 1") {
				t.Errorf("said %q", seen)
			}
			_, refused, err := r.Redrive(t.Context(), []message.ID{bad, good})
			if err != nil || refused[bad] == nil || refused[good] != nil {
				t.Fatalf("refused %v, %v", refused, err)
			}
			leases := r.lease("t", 0)
			if got := bodies(leases); fmt.Sprint(got) != "[good]" {
				t.Fatalf("leased %v", got)
			}
			r.confirm(leases)
			r.none("t")
			r.reopen()
			if d := r.Damage().Reports; len(d) != 1 || d[0].Lost != 1 {
				t.Fatalf("%+v", d)
			}
			r.acknowledged(1)
			if n := r.balanced().Ledger.Total; n.Lost != 1 || n.Confirmed != 1 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// Where the mark of a redrive is lost, the message is a dead letter again, and
// that is said; where it cannot be read, it is pending. Both balance.
func TestLostRedriveLeavesADeadLetter(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(*rig)
		want message.State
	}{
		"gone":              {func(r *rig) { r.removed("sa"); r.doubted() }, message.StateDead},
		"damaged":           {func(r *rig) { r.damaged("sa", flipLast) }, message.StatePending},
		"topic is lost too": {func(r *rig) { r.damaged("st", flipLast) }, message.StatePending},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, spool.Options{})
			id := r.letter(draft("t", "x"))
			r.accept(draft("t", "y"))
			r.redrive(id)
			r.whileClosed(func() { tc.do(r) })
			if got := r.receipt(id).State; got != tc.want {
				t.Fatal(got)
			}
			if d := r.Damage().Reports; len(d) != 1 || d[0].Lost != 0 || len(d[0].Found) == 0 {
				t.Fatalf("%+v", d)
			}
			r.acknowledged(1)
			r.reopen()
			if got := r.receipt(id).State; got != tc.want {
				t.Errorf("after the next opening: %s", got)
			}
			r.balanced()
			if r.Damage().Pending() {
				t.Errorf("%+v", r.Damage())
			}
		})
	}
}

// The deletion of a dead letter may be lost with the table that has it: what was
// discarded stays so.
func TestLostDeletionOfADeadLetter(t *testing.T) {
	r := newRig(t, spool.Options{})
	discarded, confirmed := r.letter(draft("t", "a")), r.letter(draft("t", "b"))
	r.redrive(confirmed)
	var back []entry
	for _, p := range []string{"sd", "sa"} {
		back = append(back, r.find(p)...)
	}
	r.discard(discarded)
	r.confirm(r.lease("t", 1))
	r.Flush()
	r.whileClosed(func() {
		for _, e := range back {
			r.behind(func(tx *kv.Tx) { tx.Set(e.key, e.value) })
		}
	})
	for _, doubted := range []bool{false, true} {
		if doubted {
			r.whileClosed(r.doubted)
		}
		if a, b := r.receipt(discarded).State, r.receipt(confirmed).State; a != message.StateDiscarded || b != message.StateConfirmed {
			t.Errorf("doubted %v: %s and %s", doubted, a, b)
		}
		if items, _ := r.list(spool.Query{}); len(items) > 0 {
			t.Errorf("doubted %v: %d are listed", doubted, len(items))
		}
		r.none("t")
		r.balanced()
	}
	if left := len(r.find("sd")) + len(r.find("sa")); left != 0 {
		t.Errorf("%d entries are left", left)
	}
}

// A message that was redriven is in no block: an opening that compares does not take one
// that is kept for a resend for one with something pending in it.
func TestComparingFindsNothingWrongWithARedrive(t *testing.T) {
	r := newRig(t, retaining())
	r.accept(draft("t", "1"), draft("t", "2"))
	leases := r.lease("t", 2)
	r.bury(leases[0])
	r.confirm(leases[1:])
	r.redrive(leases[0].ID)
	r.doubted()
	r.reopen()
	if d := r.Damage(); len(d.Reports) > 0 {
		t.Errorf("reported: %+v", d.Reports)
	}
	if n := len(r.find("sv")); n != 1 {
		t.Errorf("%d blocks are kept", n)
	}
	r.drained("t")
	r.flush()
	r.balanced()
}
