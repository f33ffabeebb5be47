package forwarder_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/spool"
)

// A topic with a rate is not sent faster, and keeps no other waiting.
func TestTopicWithARate(t *testing.T) {
	const perSecond, messages = 40, 24
	p := &producer{}
	var drafts []spool.Draft
	for i := range messages {
		drafts = append(drafts, draft("slow", fmt.Sprint(i), ""))
	}
	r := open(t, p, drafts...)
	f := forwarder.New(forwarder.Options{Rates: map[string]float64{"slow": perSecond}}, r.Spool, p, slog.New(slog.DiscardHandler))
	began := time.Now()
	r.run(f)
	id := r.accept(draft("any", "x", ""))[0]
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
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
}
