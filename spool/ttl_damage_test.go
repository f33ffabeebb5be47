package spool_test

import (
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// An index that has lost the place of a TTL is noticed, and written again by the
// next opening; so are counters.
func TestDamagedTTLs(t *testing.T) {
	for name, lose := range map[string]func(*rig){
		"the index":     func(r *rig) { r.removed("sq") },
		"a topic":       func(r *rig) { r.damaged("st", flipLast) },
		"a dead letter": func(r *rig) { r.removed("sq"); r.damaged("sd", flipLast); r.doubted() },
	} {
		t.Run(name, func(t *testing.T) {
			r, c := timed(t, spool.Options{})
			all := r.accept(mortal(draft("t", "dead"), time.Hour), mortal(draft("t", "waits"), 2*time.Hour), mortal(bulky(draft("t", "apart")), 2*time.Hour))
			c.advance(time.Hour)
			r.awaitDead(1)
			lose(r)
			if a, err := r.Audit(t.Context()); err != nil || a.Balanced {
				t.Fatalf("%+v, %v", a, err)
			}
			r.reopen()
			if name == "the index" {
				r.awaitSeen()
				r.reopen()
			}
			if _, err := r.AcknowledgeDamage(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.awaitDead(1) // of a damaged one the record stands in its block, and expires again
			r.balanced()
			if n := r.Ledger().Total; n.Lost != 0 || n.InSpool.Held() != 3 {
				t.Fatalf("%+v", n)
			}
			c.advance(time.Hour)
			r.awaitDead(3)
			for _, got := range all {
				r.expiredLetter(got.ID)
			}
			r.balanced()
		})
	}
}

// Comparing notes no place in the index that is as it should be: there may be millions.
func TestPlacesInTheIndexThatAreRightAreNotWritten(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	const n = 1000
	r.accept(repeat(n, mortal(draft("t", "pending"), time.Hour))...)
	r.accept(repeat(n, after(draft("t", "delayed"), time.Hour))...)
	r.doubted()
	r.reopen()
	if wrote := r.db.Stats().Bytes; wrote > n {
		t.Errorf("%d bytes were written for %d messages", wrote, 2*n)
	}
	r.removed("sq")
	r.doubted()
	r.reopen()
	if got := len(r.find("sq")); got != 2*n {
		t.Errorf("%d places of %d are there again", got, 2*n)
	}
	r.balanced()
}

// A place in the index whose deletion is lost ends nothing, and goes.
func TestStalePlacesInTheIndexGo(t *testing.T) {
	r, c := timed(t, spool.Options{})
	all := r.accept(mortal(draft("t", "confirmed"), time.Hour), mortal(draft("t", "redriven"), time.Hour), draft("t", "behind"))
	places := r.find("sq")
	leases := r.leaseSome("t", 3)
	r.confirm(leases[:1])
	r.bury(leases[1])
	r.Release(leases[2:])
	if _, _, err := r.Redrive(t.Context(), []message.ID{all[1].ID}); err != nil {
		t.Fatal(err)
	}
	// And one that tells another time than the message.
	later := r.accept(mortal(draft("t", "later"), 10*time.Hour))[0]
	last := r.find("sq")[0].key
	early := slices.Concat(last[:3], places[0].key[3:11], last[11:])
	r.behind(func(tx *kv.Tx) {
		for _, p := range places {
			tx.Set(p.key, p.value)
		}
		tx.Set(early, places[0].value)
	})
	r.reopen()
	c.advance(2 * time.Hour)
	for began := time.Now(); len(r.find("sq")) > 1; r.WakeDue() {
		if r.Flush(); time.Since(began) > time.Minute {
			t.Fatalf("%d places are left", len(r.find("sq")))
		}
	}
	if n := r.balanced().Ledger.Total; n.InSpool.Dead != 0 || n.InSpool.Pending != 3 {
		t.Fatalf("%+v", n)
	}
	c.advance(8 * time.Hour)
	r.awaitDead(1)
	r.expiredLetter(later.ID)
}
