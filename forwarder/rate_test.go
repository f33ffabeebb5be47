package forwarder_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/spool"
)

// A topic with a rate is not sent faster, and keeps no other waiting.
func TestTopicWithARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // or the disk may take longer for the other topic than the rate for all of the slow one
		const perSecond, messages = 40, 24
		p := &producer{}
		var drafts []spool.Draft
		for i := range messages {
			drafts = append(drafts, draft("slow", fmt.Sprint(i), ""))
		}
		r := open(t, p, drafts...)
		began := time.Now()
		r.forward(forwarder.Options{Rates: map[string]float64{"slow": perSecond}}, p)
		id := r.accept(draft("any", "x", ""))[0]
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := r.Wait(ctx, id); err != nil {
			t.Fatal(err)
		}
		if r.Ledger().Topics["slow"].InSpool.Held() == 0 {
			t.Error("the other topic waited for all of the slow one")
		}
		r.drained()
		if took, least := time.Since(began), time.Second*(messages-perSecond/10)/perSecond; took < least {
			t.Errorf("%d messages took %v, want %v at least", messages, took, least)
		}
		if most := slices.Max(p.sizes); most > perSecond/10 {
			t.Errorf("batches %v: more than a tenth of a second's", p.sizes)
		}
	})
}

// A topic whose rate is slow has its messages pending while they wait for it, not in
// flight, however long that is; each is sent once.
func TestSlowRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &producer{}
		r := open(t, p, numbered(4, "")...)
		opts := forwarder.Options{Rates: map[string]float64{"orders": 1.0 / 3600}}
		r.forward(opts, p)
		for hour := range 4 {
			time.Sleep(time.Minute)
			if n := r.Ledger().Total.InSpool; n.InFlight > 0 || len(p.bodies()) != hour+1 {
				t.Errorf("after %d hours %v were sent, %d are in flight", hour, p.bodies(), n.InFlight)
			}
			time.Sleep(59 * time.Minute)
		}
		time.Sleep(24 * time.Hour)
		if got := fmt.Sprint(p.bodies()); got != "[0 1 2 3]" {
			t.Errorf("sent: %s", got)
		}
	})
}
