package chaos

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDeadLettersComeBack: brokers refuse messages that are too large for them,
// and take the others of their batches. An operator lists the dead letters and
// sends them again, in vain at first; when the brokers take them they arrive,
// under their IDs.
func TestDeadLettersComeBack(t *testing.T) {
	const topic, most = "dead-letters", 100_000
	ctx := within(t, 3*time.Minute)
	w := newTrial(t, newScene(t), topic)
	heal := w.configure(t, "maxMessageSize", "100000", "4194304")
	must(t, w.side.Start())
	var large []string
	for n := range 40 {
		m := &sent{topic: topic, key: []string{"", "red", "white"}[n%3], body: bytes.Repeat([]byte{byte(n)}, 100)}
		if n%10 == 5 {
			m.key, m.body = "", bytes.Repeat([]byte{byte(n)}, most+1)
		}
		id, err := w.post(ctx, m)
		must(t, err)
		if len(m.body) > most {
			large = append(large, id)
		}
	}
	w.confirmed(ctx, t, 40-len(large))
	for _, id := range large {
		w.reaches(ctx, t, id, "dead")
	}
	wantListed(t, w, large, "MESSAGE_ILLEGAL")

	if out, err := w.side.Command(ctx, "dlq", "redrive", "--all", "--yes").CombinedOutput(); err == nil {
		t.Errorf("a redrive that the brokers refuse again ends well: %s", out)
	}
	for _, id := range large {
		w.reaches(ctx, t, id, "dead")
	}
	wantListed(t, w, large, "MESSAGE_ILLEGAL")

	heal()
	if out, err := w.side.Command(ctx, "dlq", "redrive", "--cause", "MESSAGE_ILLEGAL", "--yes").CombinedOutput(); err != nil {
		t.Errorf("redrive: %v: %s", err, out)
	}
	took := w.drained(ctx, t)
	wantListed(t, w, nil, "")
	w.judge(ctx, t)
	if w.repeats() > 0 {
		t.Errorf("%d repeats: what a broker refuses it does not store", w.repeats())
	}
	t.Logf("%d of %d messages were dead, and are on the brokers; drained %v after the redrive", len(large), w.count(), took.Round(time.Millisecond))
}

// wantListed wants dlq list to show just these, and their cause.
func wantListed(t *testing.T, w *trial, ids []string, cause string) {
	t.Helper()
	out, err := w.side.Command(t.Context(), "dlq", "list", "-o", "jsonl").Output()
	must(t, err)
	var listed []string
	for line := range strings.Lines(string(out)) {
		var letter struct {
			ID    string
			State string
			Error string `json:"last_error"`
		}
		must(t, json.Unmarshal([]byte(line), &letter))
		listed = append(listed, letter.ID)
		if letter.State != "dead" || !strings.Contains(letter.Error, cause) {
			t.Errorf("dlq list: %s, want cause %s", line, cause)
		}
	}
	if slices.Sort(listed); !slices.Equal(listed, slices.Sorted(slices.Values(ids))) {
		t.Errorf("dlq list shows %q, want %q: %s", listed, ids, out)
	}
	grouped, err := w.side.Command(t.Context(), "dlq", "list", "--by-cause").Output()
	must(t, err)
	if len(ids) > 0 && !strings.Contains(string(grouped), cause) {
		t.Errorf("dlq list --by-cause does not show %s:\n%s", cause, grouped)
	}
}

// TestDelayedMessagesArriveInTime: delayed messages are on no broker before
// their time, also when a kill comes between, and soon after it.
func TestDelayedMessagesArriveInTime(t *testing.T) {
	const topic, delay = "delayed", time.Second
	ctx := within(t, 3*time.Minute)
	w := newTrial(t, newScene(t), topic)
	must(t, w.side.Start())
	posted := map[string]time.Time{}
	for n := range 20 {
		before := time.Now()
		id, err := w.post(ctx, &sent{topic: topic, body: []byte{byte(n)}}, "MQ-Delay", delay.String())
		must(t, err)
		posted[id] = before
	}
	must(t, w.side.Kill())
	must(t, w.side.Start())
	w.drained(ctx, t)
	w.judge(ctx, t)
	late := time.Duration(0)
	for _, c := range w.copies {
		waited := c.at.Sub(posted[c.id].Truncate(time.Millisecond))
		if waited < delay {
			t.Errorf("%s was on a broker %v after it was posted with a delay of %v", c.id, waited, delay)
		}
		late = max(late, waited-delay)
	}
	t.Logf("%d messages, delayed by %v and through a kill, were on the brokers at most %v late", w.count(), delay, late.Round(time.Millisecond))
}
