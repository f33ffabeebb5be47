package spool_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// attempted tells what is known of the attempts at a message.
func (r *rig) attempted(id message.ID) string {
	r.t.Helper()
	got, err := r.Receipt(r.t.(*testing.T).Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	attempts, others := 0, ""
	for _, e := range got.History.Events() {
		if e.Name == "attempt" {
			attempts++
		} else {
			others += " " + e.Name
		}
	}
	text := fmt.Sprintf("%d of %d, %q:%s", got.Attempts, attempts, got.LastError, others)
	if got.MaybeSent {
		text += ", maybe sent"
	}
	return text
}

// What is known of the attempts at a message goes with it: into a hold and out of it,
// into a dead letter, and of that through a redrive. A restart forgets what is in memory
// alone, and not that an attempt may have reached the broker.
func TestWhatIsKnownOfAttemptsIsKept(t *testing.T) {
	const twice = `2 of 2, "%s": accepted`
	unknown := func(r *rig, c *clock, _ message.ID) {
		for range 2 {
			r.Retry(r.lease("t", 1), c.now(), message.OutcomeUnknown, "no answer")
		}
	}
	lapsed := func(r *rig, c *clock, _ message.ID) {
		for range 2 {
			r.lease("t", 1)
			c.advance(time.Hour)
		}
		r.Release(r.lease("t", 1))
	}
	hold := func(r *rig, _ *clock, id message.ID) { r.putOnHold(id) }
	expire := func(r *rig, c *clock, _ message.ID) {
		c.advance(100 * time.Hour)
		r.awaitDead(1)
	}
	bury := func(r *rig, _ *clock, _ message.ID) { r.bury(r.lease("t", 1)[0]) }
	redrive := func(r *rig, _ *clock, id message.ID) {
		if _, refused, err := r.Redrive(r.t.(*testing.T).Context(), []message.ID{id}); err != nil || len(refused) > 0 {
			r.t.Fatal(refused, err)
		}
	}
	release := func(r *rig, _ *clock, id message.ID) { r.releaseHeld(id) }
	reopen := func(r *rig, _ *clock, _ message.ID) { r.reopen() }
	type step = func(*rig, *clock, message.ID)
	for name, tc := range map[string]struct {
		steps []step
		want  string
	}{
		"attempts":                       {[]step{unknown}, fmt.Sprintf(twice, "no answer") + ", maybe sent"},
		"leases that lapsed":             {[]step{lapsed}, fmt.Sprintf(twice, "the lease lapsed") + ", maybe sent"},
		"a hold":                         {[]step{lapsed, hold}, fmt.Sprintf(twice, "the lease lapsed") + ", maybe sent"},
		"a hold and its release":         {[]step{unknown, hold, release}, fmt.Sprintf(twice, "no answer") + ", maybe sent"},
		"an expiry":                      {[]step{unknown, expire}, fmt.Sprintf(twice, "no answer") + " dead, maybe sent"},
		"an expiry on hold":              {[]step{unknown, hold, expire}, fmt.Sprintf(twice, "no answer") + " dead, maybe sent"},
		"an expiry, a restart":           {[]step{unknown, expire, reopen}, fmt.Sprintf(twice, "no answer") + " dead, maybe sent"},
		"a restart, an expiry":           {[]step{unknown, reopen, expire}, `0 of 0, "": accepted dead, maybe sent`},
		"a refusal":                      {[]step{unknown, bury}, `3 of 3, "the broker does not want it": accepted dead, maybe sent`},
		"a refusal of the first attempt": {[]step{bury}, `1 of 1, "the broker does not want it": accepted dead`},
		"a restart, a refusal":           {[]step{unknown, reopen, bury}, `1 of 1, "the broker does not want it": accepted dead, maybe sent`},
		"a hold, a restart, a refusal":   {[]step{unknown, hold, reopen, release, bury}, `1 of 1, "the broker does not want it": accepted dead, maybe sent`},
		"a redrive":                      {[]step{unknown, bury, redrive}, `0 of 3, "": accepted dead redriven, maybe sent`},
		"a redrive, a hold, a restart":   {[]step{unknown, bury, redrive, hold, reopen}, `0 of 3, "": accepted dead redriven, maybe sent`},
		"and a release":                  {[]step{unknown, bury, redrive, hold, reopen, release}, `0 of 3, "": accepted dead redriven, maybe sent`},
		"a redrive of what expired":      {[]step{unknown, hold, expire, redrive}, `0 of 2, "": accepted dead redriven, maybe sent`},
	} {
		t.Run(name, func(t *testing.T) {
			r, c := timed(t, spool.Options{LeaseFor: time.Hour})
			id := r.accept(mortal(draft("t", "x"), 99*time.Hour))[0].ID
			for _, do := range tc.steps {
				do(r, c, id)
			}
			if got := r.attempted(id); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// A message of which two attempts ended unknown is leased alone, also after a hold.
func TestWhatIsUnsureIsLeasedAloneAfterAHold(t *testing.T) {
	r, c := timed(t, spool.Options{})
	id := r.accept(draft("t", "1"))[0].ID
	for range 2 {
		r.Retry(r.lease("t", 1), c.now(), message.OutcomeUnknown, "no answer")
	}
	r.accept(draft("t", "2"), draft("t", "3"))
	r.putOnHold(id)
	r.releaseHeld(id)
	if got := fmt.Sprint(bodies(r.lease("t", 0))); got != "[1]" {
		t.Errorf("leased %s", got)
	}
}
