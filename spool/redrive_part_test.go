package spool_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// A redrive or a discard of many is several commits: when one of them fails, it is
// told what those before it have done.
func TestPartOfARedriveOrDiscardIsTold(t *testing.T) {
	if !inChild(t) {
		return
	}
	for name, do := range map[string]func(*spool.Spool, context.Context, []message.ID) ([]message.ID, map[message.ID]error, error){
		"redrive": (*spool.Spool).Redrive, "discard": (*spool.Spool).Discard,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigOn(t, spool.Options{}, kv.Options{MemTableSize: 1 << 20, LazyDelay: time.Hour})
			var ids []message.ID
			for _, got := range r.accept(repeat(150, draft("t", "x"))...) {
				ids = append(ids, got.ID)
			}
			for _, l := range r.leaseAll("t") {
				r.bury(l)
			}
			r.fenceAfterTheNext()
			done, refused, err := do(r.Spool, t.Context(), append([]message.ID{{1}}, ids...))
			if !errors.Is(err, spool.ErrReadOnly) || len(refused) != 1 {
				t.Fatalf("%v, %v", refused, err)
			}
			if n := len(done); n < 10 || n > 140 || !slices.Equal(done, ids[:n]) {
				t.Fatalf("%d are said to be done", n)
			}
			r.Spool = nil // a fenced database is not closed
			r.kill()
			if dead := r.balanced().Ledger.Total.InSpool.Dead; dead != uint64(150-len(done)) {
				t.Errorf("%d are said to be done, %d of 150 are dead letters", len(done), dead)
			}
		})
	}
}

// fenceAfterTheNext makes the second commit from now on fail, for good, of those that
// somebody waits for: nothing is posted that goes by itself.
func (r *rig) fenceAfterTheNext() {
	q := r.attach()
	q.Post(func(*kv.Tx) {
		q.Post(func(tx *kv.Tx) { tx.Set([]byte("zz"), make([]byte, r.db.MaxValue()+1)) }, 1<<10)
	}, 1<<10)
}
