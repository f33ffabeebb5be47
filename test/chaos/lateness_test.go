package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// asked is how late a delayed message may be on a broker, under load.
const asked = 100 * time.Millisecond

// TestLatenessOfDelayedMessages: messages that fall due all the time, beside others
// that are sent at once, are on no broker before. How late they are there is printed,
// and compared with nothing: it is the machine's, too.
func TestLatenessOfDelayedMessages(t *testing.T) {
	const topic, load = "lateness", "lateness-load"
	ctx := within(t, time.Duration(testscale.Between(2, 10))*time.Minute)
	w := newTrial(t, newScene(t), topic, load)
	must(t, w.side.Start())
	posting := w.begin(ctx, load)
	w.confirmed(ctx, t, 50)
	due := map[string]time.Time{}
	for n := range testscale.Between(200, 5000) {
		at := time.Now().Add(time.Second + time.Duration(n*37%1000)*time.Millisecond).Truncate(time.Millisecond)
		id, err := w.post(ctx, &sent{topic: topic, body: fmt.Append(nil, n)}, "MQ-Deliver-At", at.UTC().Format(time.RFC3339Nano))
		must(t, err)
		due[id] = at
	}
	pause(ctx, 2*time.Second) // the last one is due
	posting.end(t)
	w.drained(ctx, t)
	w.judge(ctx, t)
	first := map[string]time.Duration{}
	for _, c := range w.copies {
		at, delayed := due[c.id]
		if !delayed {
			continue
		}
		late := c.at.Sub(at)
		if known, again := first[c.id]; !again || late < known {
			first[c.id] = late
		}
		if late < 0 {
			t.Errorf("%s was on a broker %v before its time", c.id, -late)
		}
	}
	tellLateness(t, first, w.count()-len(first))
}

// tellLateness prints how late the first copy of each was.
func tellLateness(t *testing.T, first map[string]time.Duration, others int) {
	t.Helper()
	var all []time.Duration
	within := 0
	for _, late := range first {
		all = append(all, late)
		if late <= asked {
			within++
		}
	}
	slices.Sort(all)
	n := len(all)
	t.Logf("%d messages fell due beside %d others: on a broker %v late in the median, %v at p99, %v at most; %.1f %% within %v",
		n, others, all[n/2], all[n*99/100], all[n-1], 100*float64(within)/float64(n), asked)
}
