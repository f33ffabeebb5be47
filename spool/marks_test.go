package spool_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// When the marks of what ended otherwise than confirmed may be lost, only what is
// known to be confirmed is sent again: never what was cancelled, nor a dead
// letter. What is not known any more is said.
func TestLostMarksSendNothingThatWasCancelled(t *testing.T) {
	strange := func(r *rig) {
		r.removed("sn")
		r.behind(func(tx *kv.Tx) { tx.Set([]byte("sn\x00too short"), []byte("?")) })
		r.kill()
	}
	salvage := func(r *rig) {
		r.removed("sn")
		r.reopen()
		r.rests()
		rot(t, r.dbDir(), "rot here")
		if err := r.VerifyNow(); err != nil {
			t.Fatal(err)
		}
		r.reopen()
	}
	for name, c := range map[string]struct {
		do   func(*rig)
		keys int
		want string // sent again, in order
		says bool   // that some are not
		bars int    // the cancelled one, the dead letter, and what is not known
	}{
		"marks":                  {do: strange, want: "[2 3 5]", says: true, bars: 2},
		"marks, encrypted":       {do: strange, keys: 1, want: "[2 3 5]", says: true, bars: 2},
		"marks and receipts":     {do: func(r *rig) { r.removed("sr"); strange(r) }, want: "[2]", says: true, bars: 4},
		"all but the order's":    {do: func(r *rig) { r.removed("sr", "so"); strange(r) }, want: "[2]", says: true, bars: 4},
		"of a salvaged database": {do: salvage, want: "[2 3 5]", says: true, bars: 2},
		"none":                   {do: func(r *rig) { r.damaged("so", flipLast); r.damaged("sb", flipLast); r.kill() }, want: "[2 3 5]", bars: 2},
	} {
		t.Run(name, func(t *testing.T) {
			opts := retaining()
			if c.keys > 0 {
				opts.Keys = ring(c.keys)
			}
			r := newRig(t, opts)
			r.accept(draft("u", "rot here "+strings.Repeat("x", 3000)))
			r.reopen() // it lies in a table of its own
			all := r.accept(draft("t", "1"), draft("t", "2"), draft("t", "3"), draft("t", "4"), draft("t", "5"), draft("t", "6"))
			if _, err := r.Cancel(t.Context(), all[0].ID); err != nil {
				t.Fatal(err)
			}
			leases := r.lease("t", 0)
			r.bury(leases[2])
			r.confirm([]*spool.Lease{leases[0], leases[1], leases[3]})
			r.flush()
			r.resend(spool.ResendFilter{IDs: []message.ID{all[1].ID}}, 1)
			c.do(r)
			for life := range 2 {
				if life > 0 {
					r.kill()
				}
				if _, err := r.Resend(t.Context(), spool.ResendFilter{Topic: "t"}, false); err != nil {
					t.Fatal(err)
				}
				var sent []string
				for r.Ledger().Topics["t"].Resending > 0 {
					copies := r.lease("t", 0)
					sent = append(sent, bodies(copies)...)
					r.confirm(copies)
					r.flush()
				}
				if fmt.Sprint(sent) != c.want {
					t.Fatalf("sent again %v, want %s", sent, c.want)
				}
				if n := len(r.find("sn")); n != c.bars {
					t.Errorf("%d are barred, want %d", n, c.bars)
				}
				found := r.Damage().Reports[0].Found
				if said := slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, "will not be sent again") }); said != c.says {
					t.Errorf("found %q", found)
				}
			}
		})
	}
}

// A dead letter that is lost, and is read from its block again, is pending; that its
// block is kept for a resend does not keep the ledger from balancing.
func TestLostDeadLetterOfAKeptBlock(t *testing.T) {
	r := newRig(t, retaining())
	r.accept(draft("t", "1"), draft("t", "2"))
	leases := r.lease("t", 0)
	r.bury(leases[0])
	r.confirm(leases[1:])
	r.flush()
	if r.Retained().Blocks != 1 {
		t.Fatalf("kept: %+v", r.Retained())
	}
	r.damaged("sd", flipLast)
	r.removed("so")
	if _, err := r.List(t.Context(), spool.Query{}); err != nil {
		t.Fatal(err)
	}
	_, _ = r.Receipt(t.Context(), leases[0].ID) // which notices it
	r.reopen()
	if _, err := r.AcknowledgeDamage(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := r.balanced().Ledger.Total; n.InSpool.Pending != 1 || n.Confirmed != 1 {
		t.Fatalf("the ledger is %+v, the damage %+v", n, r.Damage())
	}
	if got := bodies(r.confirmAll("t")); fmt.Sprint(got) != "[1]" {
		t.Errorf("forwarded %v", got)
	}
	r.balanced()
}
