package chaos

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// TestNameServersDown: without any name server the sidecar starts and accepts;
// all goes out when one is there. When they go later, topics that were known go
// on, and a new one waits without delaying them.
func TestNameServersDown(t *testing.T) {
	const known, fresh = "names-known", "names-new"
	ctx := within(t, 3*time.Minute)
	w := newTrial(t, newScene(t), known, fresh)
	w.names[0].down()
	must(t, w.side.Start())
	posting := w.begin(ctx, known)
	pause(ctx, downTime())
	posting.end(t)
	if l, err := w.ledger(ctx); err != nil || l.Total.Confirmed > 0 || l.Total.Accepted == 0 {
		t.Fatalf("without a name server: %+v (%v)", l, err)
	}
	must(t, w.names[0].up())
	atStart := w.drained(ctx, t)

	w.names[0].down()
	posting = w.begin(ctx, known, fresh)
	pause(ctx, downTime())
	posting.end(t)
	for _, id := range w.last(known) {
		w.reaches(ctx, t, id, "confirmed")
	}
	for _, id := range w.last(fresh) {
		if s, err := w.story(ctx, id); err != nil || s.State == "confirmed" || s.State == "dead" {
			t.Errorf("a message of a topic that no name server has told of: %+v (%v)", s, err)
		}
	}
	must(t, w.names[0].up())
	later := w.drained(ctx, t)
	w.judge(ctx, t)
	t.Logf("%d messages accepted and on the brokers, %d repeats; drained %v after the first return, %v after the second",
		w.count(), w.repeats(), atStart.Round(time.Millisecond), later.Round(time.Millisecond))
}

func downTime() time.Duration {
	return time.Duration(testscale.Between(500, 60_000)) * time.Millisecond
}
