package spool_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// delay accepts messages that stay delayed, by both clocks, and some that are due
// at once, and waits until those are moved.
func (s *specimen) delay(r *rig) {
	r.t.Helper()
	far := time.Now().Add(1000 * time.Hour)
	before := r.Ledger().Total.InSpool.Delayed
	number := len(s.ids)
	all := []spool.Draft{
		after(draft("t", fmt.Sprint("delayed ", number)), 1000*time.Hour),
		until(keyed("k", fmt.Sprint("delayed ", number+1), "key 1"), far),
		after(under(fmt.Sprint("delayed ", number+2), draft("late", fmt.Sprint("delayed ", number+2))), 1000*time.Hour),
		after(draft("t", fmt.Sprint("moved ", number+3)), time.Millisecond),
		until(keyed("k", fmt.Sprint("moved ", number+4), "key 2"), time.Now().Add(20*time.Millisecond)),
		after(under(fmt.Sprint("moved ", number+5), draft("late", fmt.Sprint("moved ", number+5))), time.Millisecond),
		after(draft("late", fmt.Sprint("to be cancelled ", number+6)), 1000*time.Hour),
	}
	if number%2 == 0 {
		all[0], all[3] = bulky(all[0]), bulky(all[3])
	}
	receipts := r.accept(all...)
	for i, got := range receipts {
		s.ids = append(s.ids, got.ID)
		if key := all[i].DedupeKey; key != "" {
			s.used, s.kept[key] = append(s.used, all[i]), got.ID
		}
	}
	if _, err := r.Cancel(context.Background(), receipts[6].ID); err != nil {
		r.t.Fatal(err)
	}
	r.awaitDelayed(before + 3)
}

// A message that was moved is found by its ID, also when the entry is lost that
// leads from that to it.
func TestMovedMessagesAreFoundAfterDamage(t *testing.T) {
	for name, lose := range map[string]func(*rig){
		"nothing":              func(*rig) {},
		"the entry is gone":    func(r *rig) { r.removed("sf") },
		"the entry is damaged": func(r *rig) { r.damaged("sf", flipLast) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, c := timed(t, spool.Options{})
			all := r.accept(draft("t", "at once"), after(under("key", draft("t", "late")), time.Hour))
			sent := r.accept(after(draft("t", "sent"), time.Minute))
			r.pass(c, time.Minute, 1)
			r.confirm(slices.DeleteFunc(r.leaseSome("t", 2), func(l *spool.Lease) bool { return l.ID != sent[0].ID }))
			r.Flush()
			r.pass(c, time.Hour, 0)
			lose(r)
			r.damaged("st", flipLast) // for which all is compared
			r.kill()
			if got, err := r.Receipt(t.Context(), all[1].ID); err != nil || got.State != message.StatePending {
				t.Fatalf("the receipt is %+v, %v; the damage %+v", got, err, r.Damage())
			}
			if n := r.Ledger().Total; n.Lost != 0 || n.InSpool.Held() != 2 || n.Accepted != 3 || n.Confirmed != 1 || n.Unattributed != 0 {
				t.Errorf("the ledger is %+v", n)
			}
			if _, err := r.AcknowledgeDamage(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.reopen()
			r.balanced()
			r.confirm(r.leaseSome("t", 2))
			if got, err := r.Receipt(t.Context(), all[1].ID); err != nil || got.State != message.StateConfirmed {
				t.Errorf("the receipt is %+v, %v", got, err)
			}
		})
	}
}
