package spool_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/spool"
)

// commits counts those that do makes.
func (r *rig) commits(do func() error) uint64 {
	r.t.Helper()
	before := r.db.Stats().Commits
	if err := do(); err != nil {
		r.t.Fatal(err)
	}
	return r.db.Stats().Commits - before
}

// The marks of a block go in the commit that drops it: a crash behind it left
// them for ever.
func TestMarksGoWithTheirBlock(t *testing.T) {
	clock := newClock()
	opts := retaining()
	opts.Now = clock.now
	r := newRig(t, opts)
	all := r.accept(repeat(50, draft("t", "x"))...)
	for _, i := range []int{0, 7, 49} {
		if _, err := r.Cancel(t.Context(), all[i].ID); err != nil {
			t.Fatal(err)
		}
	}
	r.confirmAll("t")
	if n := len(r.find("sn")); n != 3 {
		t.Fatalf("%d marks", n)
	}
	clock.advance(2 * time.Hour)
	if n := r.commits(r.Expire); n != 1 {
		t.Errorf("%d commits", n)
	}
	r.nothingKept()
}

// While orders keep all of what is over the budget, nothing is written to drop
// it, and nobody is woken for it again and again. When they are done it goes.
func TestWhatOrdersKeepCostsNoWork(t *testing.T) {
	r := newRig(t, retaining())
	r.accept(draft("t", large('x')))
	r.confirmAll("t")
	r.resend(spool.ResendFilter{}, 1)
	r.opts.RetainBytes = 1 << 10
	r.reopen()
	if n := r.commits(r.Expire); n != 0 {
		t.Errorf("%d commits for nothing", n)
	}
	if !spool.Raises(false) || spool.Raises(true) {
		t.Error("who drops what is over the budget is woken again, or never")
	}
	r.confirmAll("t")
	if err := r.Expire(); err != nil {
		t.Fatal(err)
	}
	r.nothingKept()
}

// between calls do in the middle of what asks it whether to go on.
type between struct {
	context.Context //nolint:containedctx // it is one

	calls int
	do    func(call int)
}

func (b *between) Err() error {
	b.calls++
	b.do(b.calls)
	return nil
}

// Room is made while a long resend looks for its messages.
func TestRoomIsMadeDuringAResend(t *testing.T) {
	r := newRig(t, retaining())
	const blocks = 600
	for i := range blocks {
		r.accept(draft("t", fmt.Sprint(i)))
	}
	r.confirmAll("t")
	before := r.Retained().Bytes
	dropped := make(chan error, 1)
	left, calls := before, 0
	ctx := &between{Context: t.Context()}
	ctx.do = func(call int) {
		if calls = call; call == blocks+2 { // every kept block was found: now they are read
			go func() {
				_, err := r.GiveUpRetained(1)
				dropped <- err
			}()
		}
		if call > blocks+2 && call%8 == 0 {
			time.Sleep(time.Millisecond) // lets the other one ask for its turn
			left = r.Retained().Bytes
		}
	}
	if _, err := r.Resend(ctx, spool.ResendFilter{}, true); err != nil {
		t.Fatal(err)
	}
	if err := <-dropped; err != nil {
		t.Fatal(err)
	}
	if left >= before || calls < 2*blocks {
		t.Errorf("%d bytes of %d were still kept when the resend ended, after %d calls", left, before, calls)
	}
}
