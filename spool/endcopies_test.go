package spool_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// drained fails the test unless a drain ends while the forwarder does its part.
func (r *rig) drained(topic string) (sent []*spool.Lease) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Drained(ctx); cancel() }()
	for {
		leases, err := r.Lease(ctx, topic, spool.LeaseOptions{})
		if err != nil {
			break
		}
		sent = append(sent, leases...)
		r.confirm(leases)
	}
	if err := <-done; err != nil {
		r.t.Fatalf("the drain does not end: %v; ledger %+v", err, r.Ledger().Total)
	}
	return sent
}

// What was ordered and cannot be read any more ends, is named in a report that an
// operator has to acknowledge, and holds up nothing: neither other messages nor a
// drain, in this life and the next.
func TestCopiesThatCannotBeReadEnd(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(*rig)
		unread string
		sent   string
	}{
		"the block is gone":         {func(r *rig) { r.removed("sm", "si", "sv") }, "1-3 t", "[]"},
		"a record is damaged":       {func(r *rig) { r.damaged("sm", flipLast) }, "3-3 t", "[1 2]"},
		"a payload is gone":         {func(r *rig) { r.removed("sx", "sc") }, "2-2 t", "[1 3]"},
		"of a payload part is gone": {func(r *rig) { r.removed("sc") }, "2-2 t", "[1 3]"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, retaining())
			two := draft("t", large('2'))
			r.accept(draft("t", "1"), two, draft("t", "3"))
			r.confirmAll("t")
			r.resend(spool.ResendFilter{}, 3)
			r.kill()
			c.do(r)
			var sent []string
			for _, l := range r.drained("t") {
				sent = append(sent, fmt.Sprint(l.Seq))
			}
			if fmt.Sprint(sent) != c.sent {
				t.Errorf("sent again %v, want %v", sent, c.sent)
			}
			for range 2 {
				r.kill()
				counts, damage := r.Ledger().Total, r.Damage()
				if counts.Resending != 0 || len(r.find("sg")) != 0 {
					t.Errorf("%+v", counts)
				}
				if len(damage.Reports) != 1 || runs(damage.Reports[0].NotResent) != c.unread {
					t.Fatalf("%+v, want %s", damage, c.unread)
				}
			}
			if a, err := r.Audit(t.Context()); err != nil || a.Balanced {
				t.Errorf("balanced, and nobody has acknowledged it: %+v (%v)", a, err)
			}
			if _, err := r.AcknowledgeDamage(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.none("t")
		})
	}
}

// One report names many, and one that was acknowledged is not changed.
func TestUnreadCopiesShareAReport(t *testing.T) {
	r := newRig(t, retaining())
	lose := func(n int) {
		for i := range n {
			r.accept(draft("t", fmt.Sprint(i)))
			r.confirmAll("t")
		}
		r.resend(spool.ResendFilter{}, n)
		r.removed("sm", "si", "sv")
		r.drained("t")
		r.reopen()
	}
	lose(3)
	if _, err := r.AcknowledgeDamage(t.Context()); err != nil {
		t.Fatal(err)
	}
	lose(2)
	reports := r.Damage().Reports
	if len(reports) != 2 || len(reports[0].NotResent) != 3 || len(reports[1].NotResent) != 2 {
		t.Fatalf("%+v", reports)
	}
	lose(64)
	if n := len(r.Damage().Reports); n != 3 {
		t.Fatalf("%d reports", n)
	}
}

// The next block of copies does not wait until it is recorded that the one before
// was confirmed: with a block for each message that would be 20 a second.
func TestNextBlockOfCopiesWaitsForNoCommit(t *testing.T) {
	r := newRigOn(t, retaining(), kv.Options{LazyDelay: time.Hour})
	for i := range 20 {
		r.accept(draft("t", fmt.Sprint(i)))
	}
	for range 20 {
		r.confirm(r.lease("t", 1))
	}
	r.flush()
	r.resend(spool.ResendFilter{}, 20)
	for range 20 {
		r.confirm(r.lease("t", 0))
	}
	r.flush()
	if c := r.Ledger().Total; c.Resent != 20 || c.Resending != 0 {
		t.Errorf("%+v", c)
	}
	r.none("t")
	r.balanced()
}

// What is ordered of a block while others of it are being sent again, or while
// the end of its order waits for a commit, is sent after that.
func TestOrderedWhileTheOrderEnds(t *testing.T) {
	r := newRigOn(t, retaining(), kv.Options{LazyDelay: time.Hour})
	all := r.accept(draft("t", "1"), draft("t", "2"))
	r.confirmAll("t")
	r.resend(spool.ResendFilter{IDs: []message.ID{all[0].ID}}, 1)
	first := r.lease("t", 0)
	r.resend(spool.ResendFilter{IDs: []message.ID{all[1].ID}}, 1)
	r.confirm(first)
	r.flush()
	second := r.lease("t", 0)
	if fmt.Sprint(bodies(first), bodies(second)) != "[1] [2]" {
		t.Fatalf("sent again %v, then %v", bodies(first), bodies(second))
	}
	r.confirm(second)
	got, err := r.Resend(t.Context(), spool.ResendFilter{}, false) // its commit takes the end along
	if err != nil || got.Messages != 2 || got.Already != 0 {
		t.Fatalf("%+v (%v)", got, err)
	}
	if sent := bodies(r.confirmAll("t")); fmt.Sprint(sent) != "[1 2]" {
		t.Errorf("sent again %v", sent)
	}
	r.balanced()
}
