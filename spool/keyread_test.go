package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/spool"
)

// A repeat whose key cannot be read is not taken for new: it may be stored, and is
// refused until the next start has said what is lost.
func TestARepeatWhoseKeyIsDamagedIsNotNew(t *testing.T) {
	for name, damage := range map[string]func(*rig){
		"damaged": func(r *rig) { r.damaged("sk", flipLast) },
		"gone":    func(r *rig) { r.removed("sk") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, spool.Options{})
			d := under("key", draft("t", "x"))
			r.accept(d)
			r.accept(draft("t", "others")) // the key leaves memory
			r.accept(draft("t", "others"))
			damage(r)
			_, err := r.Append(t.Context(), []spool.Draft{draft("t", "new"), d})
			if !errors.Is(err, spool.ErrUnknown) || !errors.Is(err, spool.ErrKeyDamaged) {
				t.Fatalf("the repeat: %v", err)
			}
			if seen := r.Damage().Seen; len(seen) == 0 {
				t.Error("nothing is said")
			}
			r.accept(under("another key", draft("t", "y")))
			if n := r.Ledger().Total; n.Accepted != 4 {
				t.Errorf("%d are accepted", n.Accepted)
			}
			r.reopen()
			if d := r.Damage().Reports; name == "damaged" && (len(d) != 1 || d[0].Lost != 0) {
				t.Errorf("reported %+v", d)
			}
			r.accept(d)
		})
	}
}

// What hides a key on disk ends the process, before its repeat is taken for new.
func TestARepeatWhoseKeyIsHiddenIsNotNew(t *testing.T) {
	if !inChild(t) {
		return
	}
	r := newRig(t, spool.Options{})
	const all = 6000
	repeated := func(n int) spool.Draft { return under(fmt.Sprint("key ", n), draft("t", fmt.Sprint("body ", n))) }
	for n := range all / 100 {
		var some []spool.Draft
		for i := range 100 {
			some = append(some, repeated(100*n+i))
		}
		r.accept(some...)
	}
	r.reopen()
	hash := spool.HashKey("t", "key 3000")
	hide(t, r.dbDir(), string(hash[:]))
	r.rests()
	if again, err := r.Append(t.Context(), []spool.Draft{repeated(3000)}); !errors.Is(err, spool.ErrUnknown) {
		t.Fatalf("the repeat: %+v, %v", again, err)
	}
	r.restarts()
	if n := r.Ledger().Total; n.Accepted+n.Lost != all {
		t.Errorf("%+v", n)
	}
}

// The key of a message that was delayed, and has moved, stands in two entries. One
// counts, also after the next start, and in an export.
func TestAKeyThatMovedCountsOnce(t *testing.T) {
	r, c := timed(t, spool.Options{})
	d := after(under("key", draft("t", "x")), time.Hour)
	first := r.accept(d)[0]
	r.accept(under("other", draft("t", "y")))
	c.advance(2 * time.Hour)
	r.WakeDue()
	leases := append(r.lease("t", 1), r.lease("t", 1)...)
	if got := bodies(leases); got[1] != "x" {
		t.Fatalf("leased %q", got)
	}
	for range 2 {
		if n := r.Known().DedupeKeys; n != 2 {
			t.Errorf("%d keys are known", n)
		}
		if again := r.accept(d)[0]; again.ID != first.ID || !again.Duplicate {
			t.Errorf("a repeat: %+v, first %+v", again, first)
		}
		if file := r.export(spool.Query{}); bytes.Count(file, []byte(`"hash"`)) != 2 {
			t.Errorf("exported %s", file)
		}
		r.reopen()
	}
	r.confirm(r.lease("t", 0))
	if again := r.accept(d)[0]; again.ID != first.ID || !again.Duplicate {
		t.Errorf("a repeat of what is confirmed: %+v", again)
	}
}

// A client that repeats its batch after an outage asks for a thousand keys of one entry
// of 57 KB. It is read once, by who brings them and by the committer.
func TestTheKeysOfABatchAreReadTogether(t *testing.T) {
	r := newRig(t, spool.Options{})
	const keys = 1000
	var drafts []spool.Draft
	for n := range keys {
		drafts = append(drafts, under(fmt.Sprint("key ", n), draft("t", "x")))
	}
	r.accept(drafts...)
	r.reopen() // the keys leave memory
	for _, committer := range []bool{false, true} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		found, err := spool.ReadKeys(r.Spool, drafts, committer)
		runtime.ReadMemStats(&after)
		if err != nil || found != keys {
			t.Errorf("committer %t: %d keys are found, %v", committer, found, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("committer %t: %d bytes were read and allocated", committer, n)
		}
	}
}

// Repeats that together are larger than the spool are not told that they never fit, and
// are not stored, while their keys cannot be read.
func TestRepeatsThatCannotBeReadAreNotTooLarge(t *testing.T) {
	r := newRig(t, spool.Options{Limit: 10_000, TopicShare: 1})
	var all []spool.Draft
	for i := range 4 {
		d := under(fmt.Sprint("key ", i), draft("t", strings.Repeat("x", 4000)))
		r.accept(d)
		r.confirm(r.lease("t", 0))
		r.flush()
		all = append(all, d)
	}
	r.reopen() // the keys leave memory
	r.removed("sk")
	if _, err := r.Append(t.Context(), all); !errors.Is(err, spool.ErrUnknown) || errors.Is(err, spool.ErrTooLarge) {
		t.Errorf("repeats: %v", err)
	}
}
