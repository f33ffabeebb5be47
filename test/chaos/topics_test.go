package chaos

import (
	"testing"
	"time"
)

// TestMissingTopicWaitsForItsCreation: what is sent to a topic that nobody has
// created waits, delays no other topic, and goes when it exists.
func TestMissingTopicWaitsForItsCreation(t *testing.T) {
	const there, missing = "topic-there", "topic-missing"
	ctx := within(t, 3*time.Minute)
	w := newTrial(t, newScene(t), there)
	w.reading = newReading(w.scene, there, missing)
	must(t, w.side.Start())
	posting := w.begin(ctx, there, missing)
	await(ctx, t, func() error { return w.refused(ctx, t, "TOPIC_NOT_EXIST") })
	for _, id := range w.last(there) {
		w.reaches(ctx, t, id, "confirmed")
	}
	posting.end(t)
	for _, id := range w.last(missing) {
		if s, err := w.story(ctx, id); err != nil || s.State == "confirmed" || s.State == "dead" {
			t.Errorf("a message of a topic that does not exist: %+v (%v)", s, err)
		}
	}
	w.CreateTopic(t, missing, queues)
	took := w.drained(ctx, t)
	w.judge(ctx, t)
	t.Logf("%d messages accepted and on the brokers, %d repeats; drained %v after the creation", w.count(), w.repeats(), took.Round(time.Millisecond))
}

// TestReadOnlyBrokers: while no broker of a topic may be written, its messages
// wait, and nothing dies of it.
func TestReadOnlyBrokers(t *testing.T) {
	const topic = "read-only"
	ctx := within(t, 3*time.Minute)
	w := newTrial(t, newScene(t), topic)
	heal := w.configure(t, "brokerPermission", "4", "6")
	must(t, w.side.Start())
	posting := w.begin(ctx, topic)
	await(ctx, t, func() error { return w.refused(ctx, t, "NO_PERMISSION") })
	posting.end(t)
	if l, err := w.ledger(ctx); err != nil || l.Total.InSpool["dead"] > 0 || l.Total.Confirmed > 0 {
		t.Errorf("while no broker takes messages: %+v (%v)", l, err)
	}
	heal()
	took := w.drained(ctx, t)
	w.judge(ctx, t)
	t.Logf("%d messages accepted and on the brokers, %d repeats; drained %v after the return", w.count(), w.repeats(), took.Round(time.Millisecond))
}
