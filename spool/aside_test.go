package spool_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// many messages are more than one read brings into memory.
const many = 2500

// stuck is a spool with a small window, many messages of key k, two others, and
// three more of k.
func stuck(t *testing.T, opts spool.Options) (*rig, *clock) {
	t.Helper()
	opts.Window = 8 << 10
	r, c := timed(t, opts)
	r.acceptMany("k", 0, many)
	r.accept(keyed("t", "other", "l"), draft("t", "free"))
	r.acceptMany("k", many, many+3)
	return r, c
}

// acceptMany accepts messages of a key, named by their numbers.
func (r *rig) acceptMany(key string, from, to int) (ids []message.ID) {
	r.t.Helper()
	for ; from < to; from += 100 {
		var drafts []spool.Draft
		for n := from; n < min(from+100, to); n++ {
			drafts = append(drafts, keyed("t", fmt.Sprintf("%05d%s", n, strings.Repeat("x", 1000)), key))
		}
		for _, receipt := range r.accept(drafts...) {
			ids = append(ids, receipt.ID)
		}
	}
	return ids
}

func places(leases []*spool.Lease) (all []string) {
	for _, l := range leases {
		all = append(all, string(l.Body[:min(5, len(l.Body))]))
	}
	return all
}

// others leases and confirms what is not of key k.
func (r *rig) others(want ...string) {
	r.t.Helper()
	for _, w := range want {
		l := r.lease("t", 1)
		if got := string(l[0].Body); got != w {
			r.t.Fatalf("leased %.20s, want %s: what waits for a key stops the topic", got, w)
		}
		r.confirm(l)
	}
}

// inOrder drains what is left of key k, and checks that it is all, in order.
func (r *rig) inOrder(from, to int) {
	r.t.Helper()
	for next := from; next < to; {
		l := r.lease("t", 64)
		for _, got := range places(l) {
			if got != fmt.Sprintf("%05d", next) {
				r.t.Fatalf("leased %s, want %05d", got, next)
			}
			next++
		}
		r.confirm(l)
	}
	r.none("t")
	r.balanced()
	if n := r.Windows(); n != 0 {
		r.t.Errorf("%d bytes are left in the windows", n)
	}
	if n := r.Aside(); n != 0 {
		r.t.Errorf("%d messages are left aside", n)
	}
}

// waits makes the first message of k wait a minute for its retry, and checks that
// the others are forwarded meanwhile.
func (r *rig) waits() {
	r.t.Helper()
	r.Retry(r.lease("t", 1), r.opts.Now().Add(time.Minute), message.OutcomeRetryable, "the broker is gone")
	r.passed()
}

func (r *rig) passed() {
	r.t.Helper()
	r.others("other", "free")
	r.none("t")
	if r.Aside() == 0 {
		r.t.Fatal("nothing was put aside: the test proves nothing")
	}
}

func TestAKeyThatFillsTheWindowStopsNothingElse(t *testing.T) {
	r, c := stuck(t, spool.Options{})
	r.waits()
	r.accept(keyed("t", "late", "l"))
	r.others("late")
	r.acceptMany("k", many+3, many+30) // behind those that wait
	r.none("t")
	c.advance(time.Minute)
	r.inOrder(0, many+30)
}

// TestWhatIsAsideKeepsItsOrder: the key gets stuck again on its way.
func TestWhatIsAsideKeepsItsOrder(t *testing.T) {
	r, c := stuck(t, spool.Options{})
	r.waits()
	for n := range 40 {
		c.advance(time.Minute)
		l := r.lease("t", 1+n%3)
		if got := places(l)[0]; got != fmt.Sprintf("%05d", n) {
			t.Fatalf("leased %s, want %05d", got, n)
		}
		r.confirm(l[:1])
		r.Retry(l[1:], c.now().Add(time.Minute), message.OutcomeRetryable, "the broker is gone again")
		if len(l) == 1 {
			r.Retry(r.lease("t", 1), c.now().Add(time.Minute), message.OutcomeRetryable, "the broker is gone again")
		}
		r.none("t")
	}
	c.advance(time.Minute)
	r.inOrder(40, many+3)
}

// TestADeadLetterThatBlocksStopsNothingElse, however many wait for it.
func TestADeadLetterThatBlocksStopsNothingElse(t *testing.T) {
	for name, end := range map[string]func(*rig, message.ID){
		"redriven":  func(r *rig, id message.ID) { r.redrive(id) },
		"discarded": func(r *rig, id message.ID) { r.discard(id) },
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := stuck(t, spool.Options{BlockOnDead: true})
			first := r.lease("t", 1)
			id := first[0].ID
			r.bury(first[0])
			r.passed()
			end(r, id)
			from := 1
			if name == "redriven" {
				from = 0
			}
			r.inOrder(from, many+3)
		})
	}
}

// TestAHoldStopsNothingElse, and what comes behind it waits through a restart.
func TestAHoldStopsNothingElse(t *testing.T) {
	r, _ := stuck(t, spool.Options{})
	id := r.lease("t", 1)[0].ID
	r.reopen()
	r.putOnHold(id)
	r.passed()
	drained := make(chan error)
	go func() { drained <- r.Drained(t.Context()) }()
	ends(t, drained)
	r.releaseHeld(id)
	r.inOrder(0, many+3)
}

// TestWhatIsAsideCanBeChanged as anything else that waits on disk.
func TestWhatIsAsideCanBeChanged(t *testing.T) {
	r, c := timed(t, spool.Options{Window: 8 << 10})
	ids := r.acceptMany("k", 0, many)
	r.accept(keyed("t", "other", "l"), draft("t", "free"))
	ids = append(ids, r.acceptMany("k", many, many+3)...)
	r.waits()
	r.cancelled(ids[1050])
	r.cancelled(ids[many+2])
	r.putOnHold(ids[2100])
	r.putOnHold(ids[1060])
	r.releaseHeld(ids[1060]) // it is in memory now, and the earlier ones are not
	r.none("t")
	c.advance(time.Minute)
	var got []string
	for len(got) < 2099 {
		l := r.lease("t", 64)
		got = append(got, places(l)...)
		r.confirm(l)
	}
	for i, n := range got {
		want := i
		if i >= 1050 {
			want++
		}
		if n != fmt.Sprintf("%05d", want) {
			t.Fatalf("leased %s, want %05d: %v", n, want, got)
		}
	}
	r.none("t") // behind 2100
	r.releaseHeld(ids[2100])
	r.inOrder(2100, many+2)
}

// TestWhatIsAsideExpires, and the rest of its key goes on.
func TestWhatIsAsideExpires(t *testing.T) {
	r, c := timed(t, spool.Options{Window: 8 << 10})
	r.acceptMany("k", 0, many)
	id := r.accept(mortal(keyed("t", "short", "k"), 30*time.Second))[0].ID
	r.accept(keyed("t", "other", "l"), draft("t", "free"))
	r.acceptMany("k", many, many+20)
	r.waits()
	c.advance(time.Minute)
	r.awaitDead(1)
	r.expiredLetter(id)
	r.inOrder(0, many+20)
}

// TestALittleIsAside where one message fills the window, and all are read one by one.
func TestALittleIsAside(t *testing.T) {
	r, c := timed(t, spool.Options{Window: 1})
	r.accept(keyed("t", "00000", "k"))
	r.acceptMany("k", 1, many)
	r.accept(keyed("t", "other", "l"), draft("t", "free"))
	r.waits()
	c.advance(time.Minute)
	r.inOrder(0, many)
}

// TestAsideAtRandom: whatever waits, expires in its lease or is cancelled, each key
// keeps its order and nothing is forgotten.
func TestAsideAtRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(testscale.PrintedSeed(t), 1))
	r, c := timed(t, spool.Options{Window: 8 << 10, LeaseFor: time.Hour})
	keys := []string{"", "k", "l", "m"}
	next, sent := map[string]int{}, map[string]int{}
	accept := func(n int) {
		var drafts []spool.Draft
		for range n {
			k := keys[rng.IntN(len(keys))]
			drafts = append(drafts, keyed("t", fmt.Sprintf("%05d%s", next[k], strings.Repeat("x", rng.IntN(1500))), k))
			next[k]++
		}
		r.accept(drafts...)
	}
	settle := func(leases []*spool.Lease) {
		for i, p := range places(leases) {
			k := leases[i].OrderingKey
			if want := fmt.Sprintf("%05d", sent[k]); k != "" && p != want {
				t.Fatalf("leased %s of key %q, want %s", p, k, want)
			}
			sent[k]++
		}
		r.confirm(leases)
	}
	backlog := 3000
	if underRace {
		backlog = 1000
	}
	accept(backlog)
	most := 0
	for range 150 {
		most = max(most, r.Aside())
		accept(rng.IntN(20))
		leases, err := r.leaseNow("t", 1+rng.IntN(64))
		switch n := rng.IntN(10); {
		case err != nil: // all that may be leased waits
			c.advance(10 * time.Second)
		case n < 3 && leases[0].OrderingKey != "":
			r.Retry(leases, c.now().Add(time.Duration(rng.IntN(60))*time.Second), message.OutcomeRetryable, "the broker is gone")
		case n == 3:
			r.Release(leases)
		default:
			settle(leases)
		}
	}
	if most == 0 {
		t.Error("nothing was put aside: the test proves nothing")
	}
	c.advance(time.Hour)
	for left := r.Ledger().Total.InSpool; left.Pending+left.Retrying > 0; left = r.Ledger().Total.InSpool {
		settle(r.lease("t", 64))
		r.Flush()
	}
	for _, k := range keys {
		if sent[k] != next[k] {
			t.Errorf("key %q: %d of %d were sent", k, sent[k], next[k])
		}
	}
	r.balanced()
}
