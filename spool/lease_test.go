package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// large is a body that is stored apart, told from others by its first byte.
func large(first byte) string {
	return string(append([]byte{first}, bytes.Repeat([]byte{'.'}, 100<<10)...))
}

func TestLeaseEndsWithItsContextAlsoBeforeALargeMessage(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", large('a')))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ended := make(chan error)
	go func() { _, err := r.Lease(ctx, "t", spool.LeaseOptions{}); ended <- err }()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Lease runs on without its context")
	}
}

func TestUnreadablePayloadHoldsItsOrderingKeyBack(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(keyed("t", large('a'), "k"), keyed("t", "b", "k"), draft("t", "free"))[0].ID
	r.behind(func(tx *kv.Tx) { tx.Delete(r.find("sc")[0].key) })
	if got := fmt.Sprint(bodies(r.lease("t", 0))); got != "[free]" {
		t.Fatalf("leased %.40s: the later message of the key was not held back", got)
	}
	if n := r.Ledger().Total.InSpool; n.Retrying != 1 || n.Pending != 1 || n.InFlight != 1 {
		t.Fatalf("%+v", n)
	}
	got, err := r.Receipt(t.Context(), id)
	if err != nil || got.Attempts != 0 || len(got.History.Events()) != 1 || got.LastError == "" {
		t.Errorf("no attempt was made, yet the receipt tells of one: %+v (%v)", got, err)
	}
}

func TestNothingIsAcceptedOrForwardedAfterAFailedSync(t *testing.T) {
	if !inChild(t) {
		return
	}
	r := newRig(t, spool.Options{})
	id := r.accept(draft("t", "a"), draft("t", "b"))[1].ID
	r.lease("t", 1)
	s := r.Spool
	waited := make(chan message.Receipt)
	go func() { got, _ := s.Wait(t.Context(), id); waited <- got }()
	r.fence()
	if _, err := s.Lease(t.Context(), "t", spool.LeaseOptions{}); !errors.Is(err, spool.ErrReadOnly) {
		t.Errorf("lease: %v", err)
	}
	if _, err := s.Append(t.Context(), []spool.Draft{draft("t", "c")}); !errors.Is(err, spool.ErrReadOnly) {
		t.Errorf("append: %v", err)
	}
	if _, err := s.Cancel(t.Context(), id); !errors.Is(err, spool.ErrReadOnly) {
		t.Errorf("cancel: %v", err)
	}
	if err := s.Drained(t.Context()); !errors.Is(err, spool.ErrReadOnly) {
		t.Errorf("drained: %v", err)
	}
	if got := <-waited; got.State != message.StatePending {
		t.Errorf("wait: %s", got.State)
	}
	if err := s.Close(); !errors.Is(err, spool.ErrReadOnly) {
		t.Errorf("close: %v", err)
	}
}

// TestReadsAfterAFailedSyncSayReadOnly: whoever asks between the failure and the
// exit is not told of an error that nobody foresaw.
func TestReadsAfterAFailedSyncSayReadOnly(t *testing.T) {
	if !inChild(t) {
		return
	}
	r := newRig(t, spool.Options{})
	dead := r.letter(draft("t", "a"))
	settled := r.accept(draft("t", "b"))[0].ID
	r.cancelled(settled)
	held := r.accept(draft("t", "c"))[0].ID
	late := draft("t", "d")
	late.DeliverAt = time.Now().Add(time.Hour)
	delayed := r.accept(late)[0].ID
	r.reopen()
	s := r.Spool
	r.fence()
	receipt := func(id message.ID) func() error {
		return func() error { _, err := s.Receipt(t.Context(), id); return err }
	}
	reads := map[string]func() error{
		"dead letter": receipt(dead), "receipt": receipt(settled), "held": receipt(held), "delayed": receipt(delayed),
		"list":       func() error { _, err := s.List(t.Context(), spool.Query{}); return err },
		"find":       func() error { _, err := s.Find(t.Context(), held); return err },
		"audit":      func() error { _, err := s.Audit(t.Context()); return err },
		"exceptions": func() error { _, err := s.Exceptions(t.Context(), "t", "", 9); return err },
		"export":     func() error { _, err := s.Export(t.Context(), io.Discard, spool.Query{}); return err },
	}
	for name, read := range reads {
		if err := read(); !errors.Is(err, spool.ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLeaseRefusesAfterClose(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "a"))
	if err := r.Spool.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lease(t.Context(), "t", spool.LeaseOptions{}); !errors.Is(err, spool.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestLeaseThatLapsedMayHaveBeenSent(t *testing.T) {
	c := newClock()
	r := newRig(t, spool.Options{LeaseFor: time.Minute, Now: c.now})
	r.accept(draft("t", "a"))
	first := r.lease("t", 0)
	c.advance(2 * time.Minute)
	second := r.lease("t", 0)
	if second[0].ID != first[0].ID || second[0].Attempt != 2 {
		t.Fatalf("%+v", second[0])
	}
	r.Release(second)
	if _, err := r.Cancel(t.Context(), first[0].ID); !errors.Is(err, spool.ErrMaybeSent) {
		t.Fatalf("cancel of what a lapsed lease may have sent: %v", err)
	}
	r.confirm(first) // late, and still the truth
	if got, err := r.Wait(t.Context(), first[0].ID); err != nil || got.State != message.StateConfirmed {
		t.Fatalf("%v %v", got.State, err)
	}
}

func TestLeasesKeepAcceptOrderPerKey(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(keyed("t", "a1", "a"), keyed("t", "b1", "b"), draft("t", "1"), keyed("t", "a2", "a"), draft("t", "2"), keyed("t", "a3", "a"))
	a := r.lease("t", 2)
	b := r.lease("t", 0)
	free := r.lease("t", 0)
	if got := fmt.Sprint(bodies(a), bodies(b), bodies(free)); got != "[a1 a2] [b1] [1 2]" {
		t.Fatal(got)
	}
	r.none("t") // a3 waits for a1 and a2
	r.Retry(a[:1], time.Now().Add(50*time.Millisecond), message.OutcomeRetryable, "busy")
	r.confirm(a[1:])
	again := r.lease("t", 0)
	if got := fmt.Sprint(bodies(again)); got != "[a1 a3]" || again[0].Attempt != 2 {
		t.Fatal(got)
	}
}

func TestOneStuckKeyDoesNotStopTheOthers(t *testing.T) {
	r := newRig(t, spool.Options{})
	const others = 1000 // 2 MiB: more than one read brings in
	r.accept(repeat(100, keyed("t", "k", "stuck"))...)
	for range 10 {
		r.accept(repeat(others/10, draft("t", strings.Repeat("x", 2000)))...)
	}
	r.reopen() // so that all of it has to be read from disk
	stuck := r.lease("t", 8)
	r.Retry(stuck, time.Now().Add(time.Hour), message.OutcomeRetryable, "its broker is gone")
	for n := 0; n < others; {
		leases := r.lease("t", 8)
		r.confirm(leases)
		n += len(leases)
	}
}

// Who has waited with leases until they ended makes no attempt: others may have the
// messages. Who has not has all the time of a new lease for it.
func TestCurrentLeasesBeginAnew(t *testing.T) {
	r, c := timed(t, spool.Options{LeaseFor: time.Minute})
	r.accept(draft("t", "1"), draft("t", "2"))
	ended := r.leaseSome("t", 2)
	c.advance(time.Minute)
	again := r.leaseSome("t", 1)
	if got := r.Current(ended); len(got) > 0 {
		t.Errorf("of leases that have ended, %q may be attempted", bodies(got))
	}
	for range 3 {
		c.advance(50 * time.Second)
		if got := fmt.Sprint(bodies(r.Current(again))); got != "[1]" {
			t.Fatalf("%s may be attempted", got)
		}
		if want := c.now().Add(time.Minute); !again[0].Expires.Equal(want) {
			t.Errorf("it says that it ends at %s, want %s", again[0].Expires, want)
		}
	}
	if got := fmt.Sprint(r.leasable("t")); got != "[2]" {
		t.Errorf("leased %s, while an attempt is made of 1", got)
	}
}

// A message of which two attempts ended unknown is leased alone, and what is behind it of
// its ordering key after it; the others of its queue go on together.
func TestUnsureMessageIsLeasedAlone(t *testing.T) {
	for name, unsure := range map[string]func(*rig, *clock, *spool.Lease){
		"said": func(r *rig, c *clock, l *spool.Lease) {
			r.Retry([]*spool.Lease{l}, c.now(), message.OutcomeUnknown, "SYSTEM_ERROR")
		},
		"its lease lapses": func(_ *rig, c *clock, _ *spool.Lease) { c.advance(time.Minute) },
		"put on hold": func(r *rig, c *clock, l *spool.Lease) {
			r.Retry([]*spool.Lease{l}, c.now(), message.OutcomeUnknown, "SYSTEM_ERROR")
			r.putOnHold(l.ID)
			r.releaseHeld(l.ID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, c := timed(t, spool.Options{LeaseFor: time.Minute})
			r.accept(keyed("t", "1", "a"), keyed("t", "2", "b"), keyed("t", "3", "b"), keyed("t", "4", "a"))
			if err := r.Bind(t.Context(), "t", []string{"q"}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				leases := r.lease("t", 9)
				if got := fmt.Sprint(bodies(leases)); got != "[1 2 3 4]" || leases[1].Alone {
					t.Fatalf("leased %s", got)
				}
				r.Release(append(leases[:1:1], leases[2:]...))
				unsure(r, c, leases[1])
			}
			for _, want := range []string{"[1 4]", "[2]", "[3]"} {
				leases := r.lease("t", 9)
				if got := fmt.Sprint(bodies(leases)); got != want || leases[0].Alone != (want == "[2]") {
					t.Fatalf("leased %s, alone: %t; want %s", got, leases[0].Alone, want)
				}
				r.confirm(leases)
			}
		})
	}
}
