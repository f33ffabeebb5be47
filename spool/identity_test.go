package spool_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestEachOpeningIsAnEpoch(t *testing.T) {
	r := newRig(t, spool.Options{})
	seen := map[uint32]bool{}
	for _, how := range []func(){func() {}, r.reopen, r.kill, r.kill, r.reopen} {
		how()
		id := r.accept(draft("t", "x"))[0].ID
		if seen[id.Epoch()] || id.Spool() != r.ID() {
			t.Fatalf("%s has epoch %d again, or another spool than %s", id, id.Epoch(), r.ID())
		}
		seen[id.Epoch()] = true
	}
}

// The tail of the log is lost after its messages were forwarded: their IDs must
// not be given again, or the consumer's dedupe swallows the new ones.
func TestLostTailGivesNoIDAgain(t *testing.T) {
	r := newRig(t, spool.Options{})
	copyStill(t, r.dbDir(), r.dbDir()+".before")
	lost := r.accept(draft("t", "lost"))[0]
	r.confirm(r.lease("t", 0))
	r.become(r.dbDir() + ".before")
	anew := r.accept(draft("t", "new"))[0]
	if anew.ID == lost.ID || anew.ID.Seq32() != lost.ID.Seq32() {
		t.Fatalf("%s after %s: the same sequence, and another ID", anew.ID, lost.ID)
	}
	if _, err := r.Receipt(t.Context(), lost.ID); !errors.Is(err, spool.ErrNotFound) {
		t.Fatalf("the lost one is taken for the new one: %v", err)
	}
}

func TestCopiedVolumeTakesANewSpoolID(t *testing.T) {
	r := newRig(t, spool.Options{})
	old := r.accept(draft("t", "x"))[0].ID
	was := r.ID()
	r.reopen()
	if r.ID() != was {
		t.Fatal("the same volume has another spool ID after a restart")
	}
	r.close()
	elsewhere := &rig{t: t, dir: t.TempDir(), opts: r.opts}
	if err := os.Remove(filepath.Join(r.dbDir(), "LOCK")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	copyStill(t, r.dbDir(), elsewhere.dbDir())
	if err := copyFile(filepath.Join(r.dir, "spool.id"), filepath.Join(elsewhere.dir, "spool.id")); err != nil {
		t.Fatal(err)
	}
	elsewhere.open()
	defer elsewhere.close()
	if elsewhere.ID() == was {
		t.Fatal("two volumes give the same IDs")
	}
	if got, err := elsewhere.Receipt(t.Context(), old); err != nil || got.ID != old {
		t.Fatalf("old messages keep their IDs: %v %v", got.ID, err)
	}
	if again := elsewhere.lease("t", 0); again[0].ID != old {
		t.Fatalf("forwarded as %s, was %s", again[0].ID, old)
	}
}

func TestIDsStayUniqueWhenTheirSequenceWraps(t *testing.T) {
	r := newRig(t, spool.Options{})
	if err := r.AgeTo(1<<32 - 3); err != nil {
		t.Fatal(err)
	}
	r.balanced()
	var drafts []spool.Draft
	for i := range 6 {
		drafts = append(drafts, under(fmt.Sprint(i), draft("t", fmt.Sprint(i))))
	}
	all := r.accept(drafts...)
	if a, b := all[1].ID, all[2].ID; a.Seq32() != 1<<32-1 || b.Seq32() != 0 || b.Epoch() != a.Epoch()+1 {
		t.Fatalf("%s, then %s: the epoch has to change when the 32 bits begin anew", a, b)
	}
	low := r.accept(draft("t", "6"))[0].ID
	for _, how := range []func(){func() {}, r.reopen, r.kill} {
		how()
		for i, want := range all {
			got, err := r.Receipt(t.Context(), want.ID)
			if err != nil || got.ID != want.ID {
				t.Errorf("message %d: %v", i, err)
			}
			if again := r.accept(drafts[i])[0]; again.ID != want.ID {
				t.Errorf("message %d is %s, was %s", i, again.ID, want.ID)
			}
		}
		r.balanced()
	}
	next := r.accept(draft("t", "7"))[0].ID
	if next.Epoch() == low.Epoch() {
		t.Error("an opening after a wrap has to be an epoch of its own")
	}
	for n := 0; n < 8; {
		leases := r.lease("t", 0)
		for _, l := range leases {
			if string(l.Body) != fmt.Sprint(n) {
				t.Errorf("%s came, %d is next", l.Body, n)
			}
			n++
		}
		r.confirm(leases)
	}
	r.reopen()
	r.balanced()
}

func TestEpochsThatAreUsedUpBeginWithANewSpoolID(t *testing.T) {
	tests := []struct {
		epoch      uint32
		sameVolume bool
		next       uint32
		sameID     bool
	}{
		{6, true, 7, true},
		{message.MaxEpoch - 1, true, message.MaxEpoch, true},
		{message.MaxEpoch, true, 1, false},
		{6, false, 1, false},
	}
	for _, tc := range tests {
		next, sameID := spool.NextLife(tc.epoch, tc.sameVolume)
		if next != tc.next || sameID != tc.sameID {
			t.Errorf("after %d (same volume: %v): %d, same ID: %v", tc.epoch, tc.sameVolume, next, sameID)
		}
	}
}

func TestForeignIDIsNotFound(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(draft("t", "x"))[0].ID
	other := id
	other[7]++ // the epoch
	for _, id := range []message.ID{other, {}, message.NewID(r.ID(), 1, 99, r.accept(draft("t", "x"))[0].AcceptedAt)} {
		if _, err := r.Receipt(t.Context(), id); !errors.Is(err, spool.ErrNotFound) {
			t.Errorf("receipt of %s: %v", id, err)
		}
		if _, err := r.Cancel(t.Context(), id); !errors.Is(err, spool.ErrNotFound) {
			t.Errorf("cancel of %s: %v", id, err)
		}
		if _, err := r.Wait(t.Context(), id); !errors.Is(err, spool.ErrNotFound) {
			t.Errorf("wait for %s: %v", id, err)
		}
	}
}
