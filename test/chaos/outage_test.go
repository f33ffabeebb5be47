package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// TestOutage: nothing answers, brokers and name servers, while the application
// goes on. All of it is accepted, and is on the brokers after their return.
func TestOutage(t *testing.T) {
	const topic = "outage"
	ctx := within(t, time.Duration(testscale.Between(2, 45))*time.Minute)
	w := newTrial(t, newScene(t), topic)
	must(t, w.side.Start())
	posting := w.begin(ctx, topic)
	w.confirmed(ctx, t, 50)

	all := slices.Concat(w.scene.brokers, w.names)
	for _, l := range all {
		l.down()
	}
	atFirst := w.count()
	pause(ctx, time.Duration(testscale.Between(1, 600))*time.Second)
	posting.end(t)
	meanwhile := w.count() - atFirst
	if l, err := w.ledger(ctx); err != nil || w.count()-l.Total.Confirmed < meanwhile || meanwhile == 0 {
		t.Errorf("%d accepted during the outage: %+v (%v)", meanwhile, l, err)
	}
	for _, l := range all {
		must(t, l.up())
	}
	took := w.drained(ctx, t)
	w.judge(ctx, t)
	t.Logf("%d messages accepted, %d of them during the outage, all on the brokers, %d repeats; drained %v after the return",
		w.count(), meanwhile, w.repeats(), took.Round(time.Millisecond))
}
