package spool_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestSmallWindowDrainsEverythingInOrder(t *testing.T) {
	const total, window = 50_000, 64 << 10
	r := newRig(t, spool.Options{Window: window})
	body := strings.Repeat("x", 40)
	largest := int64(0)
	next := 0
	for next < total {
		var drafts []spool.Draft
		for range 1000 {
			drafts = append(drafts, draft("t", fmt.Sprint(next, body)))
			next++
		}
		r.accept(drafts...)
		largest = max(largest, r.Windows())
	}
	if largest > window+400_000 { // and one commit
		t.Fatalf("the window grew to %d bytes while nobody leased", largest)
	}
	for n := 0; n < total; {
		leases := r.lease("t", 500)
		for _, l := range leases {
			if want := fmt.Sprint(n, body); string(l.Body) != want {
				t.Fatalf("leased %.10s, want %.10s", l.Body, want)
			}
			n++
		}
		largest = max(largest, r.Windows())
		r.confirm(leases)
	}
	if most := int64(window + 6<<20); largest > most { // a read brings in 1 MiB of records
		t.Fatalf("the window grew to %d bytes, at most %d are right", largest, most)
	}
	if err := r.Drained(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	r.balanced()
	if n := r.Windows(); n != 0 {
		t.Fatalf("%d bytes are left in the windows", n)
	}
}

// In an outage every message fails: they must not all gather in memory.
func TestOutageKeepsTheWindowBounded(t *testing.T) {
	const window = 64 << 10
	r := newRig(t, spool.Options{Window: window})
	for range 400 {
		r.accept(repeat(20, draft("t", strings.Repeat("x", 1<<10)))...)
	}
	r.reopen()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		leases, err := r.Lease(ctx, "t", spool.LeaseOptions{MaxMessages: 32})
		cancel()
		if err != nil {
			break
		}
		r.Retry(leases, time.Now().Add(time.Hour), message.OutcomeRetryable, "down")
	}
	if n := r.Windows(); n > window+2<<20 {
		t.Fatalf("%d bytes are in memory", n)
	}
}

// One message that waits long must not keep in memory what passes it.
func TestOneStuckMessageCostsNoMemory(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "stuck"))
	stuck := r.lease("t", 1)
	r.Retry(stuck, time.Now().Add(time.Hour), message.OutcomeRetryable, "no")
	for range 20 { // settle range after range, block after block
		for range 50 {
			r.accept(repeat(20, draft("t", "x"))...)
			r.confirm(r.lease("t", 0))
		}
	}
	r.accept(draft("t", "x"))
	r.committed()
	if n := r.Blocks("t"); n > 100 {
		t.Errorf("%d blocks are remembered, of which 2 exist", n)
	}
	if n := len(r.find("sm")); n != 2 {
		t.Errorf("%d blocks exist", n)
	}
	if n := r.SettledBytes(); n > 2<<10 {
		t.Errorf("%d bytes say what is settled", n)
	}
	r.kill()
	if n := r.SettledBytes(); n > 2<<10 {
		t.Errorf("%d bytes say what is settled", n)
	}
	if got := fmt.Sprint(bodies(r.lease("t", 0))); got != "[stuck x]" && got != "[stuck]" {
		t.Error(got)
	}
	r.balanced()
}

func TestManyReturnedMessagesAreBackInOrder(t *testing.T) {
	c := newClock()
	r := newRig(t, spool.Options{Now: c.now, LeaseFor: time.Hour})
	const n = 30_000
	for range n / 1000 {
		r.accept(repeat(1000, draft("t", "x"))...)
	}
	for _, giveBack := range []func([]*spool.Lease){
		func(l []*spool.Lease) { // every other one first
			slices.SortStableFunc(l, func(a, b *spool.Lease) int { return cmp.Compare(a.Seq%2, b.Seq%2) })
			r.Release(l)
		},
		func(l []*spool.Lease) {
			r.Retry(l, c.now().Add(time.Minute), message.OutcomeRetryable, "no")
			c.advance(time.Minute)
		},
	} {
		leases := r.lease("t", n)
		giveBack(leases)
		again := r.lease("t", n)
		if len(again) != n {
			t.Fatalf("%d came back", len(again))
		}
		for i, l := range again {
			if l.Seq != uint64(i+1) {
				t.Fatalf("sequence %d stands at %d", l.Seq, i)
			}
		}
		r.Release(again)
	}
}

func TestManyCallersShareOneLane(t *testing.T) {
	r := newRig(t, spool.Options{})
	const total = 2000
	ctx, cancel := context.WithCancel(t.Context())
	var seen sync.Map
	var work sync.WaitGroup
	left := make(chan struct{}, total)
	r.accept(draft("t", "x")) // so that the topic is there
	for range 8 {
		work.Go(func() {
			for {
				leases, err := r.Lease(ctx, "t", spool.LeaseOptions{MaxMessages: 7})
				if err != nil {
					return
				}
				for _, l := range leases {
					if _, twice := seen.LoadOrStore(l.Seq, true); twice {
						t.Errorf("sequence %d was leased twice", l.Seq)
					}
				}
				r.confirm(leases)
				for range leases {
					left <- struct{}{}
				}
			}
		})
	}
	for range (total - 1) / 13 {
		r.accept(repeat(13, draft("t", "x"))...)
	}
	for range (total-1)/13*13 + 1 {
		select {
		case <-left:
		case <-time.After(time.Minute):
			t.Fatal("a caller sleeps although messages wait")
		}
	}
	cancel()
	work.Wait()
}
