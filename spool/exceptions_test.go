package spool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// exceptions reads the whole list, some at a time. A topic that is not known has none.
func (r *rig) exceptions(topic string, some int) (all []spool.Exception) {
	r.t.Helper()
	for cursor := ""; ; {
		page, err := r.Exceptions(context.Background(), topic, cursor, some)
		if errors.Is(err, spool.ErrNotFound) {
			return nil
		}
		if err != nil || len(page.Items) > some {
			r.t.Fatalf("%d items: %v", len(page.Items), err)
		}
		all = append(all, page.Items...)
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// What reached the broker and what the spool names as exceptions are together
// every number that was given.
func TestExceptionsFillTheGaps(t *testing.T) {
	r := newRig(t, spool.Options{})
	var ids []message.ID
	for i := range 10 {
		ids = append(ids, r.accept(draft("t", fmt.Sprint(i)))[0].ID)
	}
	r.accept(draft("other", "x"))
	for _, i := range []int{7, 2} {
		if _, err := r.Cancel(t.Context(), ids[i]); err != nil {
			t.Fatal(err)
		}
	}
	r.bury(r.lease("t", 1)[0])
	r.bury(r.lease("t", 1)[0])
	var arrived []uint64
	for r.Waiting("t") > 0 {
		leases := r.lease("t", 0)
		arrived = append(arrived, numbers(leases)...)
		r.confirm(leases)
	}
	for _, how := range []func(){func() {}, r.reopen, r.kill} {
		how()
		all := slices.Clone(arrived)
		said := ""
		for _, e := range r.exceptions("t", 3) {
			all = append(all, e.TopicSeq)
			said += fmt.Sprint(e.TopicSeq, " ", e.State, " ")
			if e.Origin != r.ID() || e.ID != ids[e.TopicSeq-1] || e.At.IsZero() {
				t.Errorf("%+v", e)
			}
		}
		if want := "1 dead 2 dead 8 cancelled 3 cancelled "; said != want {
			t.Errorf("exceptions %s, want %s", said, want)
		}
		slices.Sort(all)
		if fmt.Sprint(all) != "[1 2 3 4 5 6 7 8 9 10]" {
			t.Errorf("numbers %v", all)
		}
		r.balanced()
	}
	page, err := r.Exceptions(t.Context(), "t", "", 1)
	if err != nil || len(page.Origins) != 1 || page.Origins[0] != (spool.Origin{ID: r.ID(), Last: 10}) {
		t.Errorf("%+v %v", page, err)
	}
	if got := r.exceptions("other", 1); len(got) != 0 {
		t.Errorf("exceptions of another topic: %v", got)
	}
}

// A cancel is answered only when the exception is on stable storage with it.
func TestCancelledNumberSurvivesAKill(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(draft("t", "x"))[0].ID
	if _, err := r.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	r.kill()
	if got := r.exceptions("t", 1); len(got) != 1 || got[0].ID != id || got[0].State != message.StateCancelled {
		t.Fatalf("%+v", got)
	}
}

func TestExceptionsArePaged(t *testing.T) {
	clock := newClock()
	r := newRig(t, spool.Options{Now: clock.now})
	for range 3 { // hours
		for range 4 {
			for _, got := range r.accept(draft("t", "x"), draft("other", "x")) {
				if _, err := r.Cancel(t.Context(), got.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		clock.advance(time.Hour)
		r.reopen()
	}
	r.cancelAtOnce("t", 5)
	want := fmt.Sprint(r.exceptions("t", 1000))
	if n := len(r.exceptions("t", 1000)); n != 17 || len(r.find("so")) >= 12+n {
		t.Fatalf("%d exceptions", n)
	}
	for some := 1; some < 18; some++ {
		if got := fmt.Sprint(r.exceptions("t", some)); got != want {
			t.Errorf("%d at a time: %v, want %v", some, got, want)
		}
	}
	for _, cursor := range []string{"x", "00", "0001", "ff", "zz"} {
		if _, err := r.Exceptions(t.Context(), "t", cursor, 1); !errors.Is(err, spool.ErrCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
	if _, err := r.Exceptions(t.Context(), "no such topic", "", 1); !errors.Is(err, spool.ErrNotFound) {
		t.Error(err)
	}
}

// cancelAtOnce cancels n new messages in one commit.
func (r *rig) cancelAtOnce(topic string, n int) {
	r.t.Helper()
	all := r.accept(repeat(n, draft(topic, "x"))...)
	goOn := r.hold()
	done := make(chan error, n)
	for _, got := range all {
		go func(s *spool.Spool) {
			_, err := s.Cancel(context.Background(), got.ID)
			done <- err
		}(r.Spool)
	}
	eventually(r.t, func() bool { return r.db.Stats().Queued >= n })
	goOn()
	for range n {
		if err := <-done; err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestExceptionsGoWhenTheirRetentionEnds(t *testing.T) {
	clock := newClock()
	r := newRig(t, spool.Options{Now: clock.now, LedgerKeep: 24 * time.Hour})
	cancel := func() {
		if _, err := r.Cancel(t.Context(), r.accept(draft("t", "x"))[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	clock.advance(20 * time.Hour)
	cancel()
	for left, wait := range []time.Duration{20 * time.Hour, 6 * time.Hour, 4 * time.Hour} {
		if err := r.Expire(); err != nil {
			t.Fatal(err)
		}
		if got := r.exceptions("t", 9); len(got) != 2-left {
			t.Errorf("%d exceptions are left, want %d", len(got), 2-left)
		}
		r.balanced()
		r.reopen()
		clock.advance(wait)
	}
	if n := len(r.find("so")); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

// A message that never was pending has no number, so nobody misses it; a lost
// one is named even if its number was lost with it.
func TestWhichEndingsAreExceptions(t *testing.T) {
	for state, numbered := range map[message.State][2]bool{ // without, with a number
		message.StateConfirmed:  {false, false},
		message.StateCancelled:  {false, true},
		message.StateRolledBack: {false, true},
		message.StateDiscarded:  {false, true},
		message.StateLost:       {true, true},
	} {
		for i, topicSeq := range []uint64{0, 5} {
			if got := spool.IsException(state, topicSeq); got != numbered[i] {
				t.Errorf("%s, number %d: %v", state, topicSeq, got)
			}
		}
	}
}
