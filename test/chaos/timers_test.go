package chaos

import (
	"errors"
	"testing"
	"time"
)

// TestDelayedMessagesAtTheBrokersTimer: with topics.delay the brokers have delayed
// messages before their time, and bring them then without the sidecar, not before.
func TestDelayedMessagesAtTheBrokersTimer(t *testing.T) {
	const topic, delay = "timers", 5 * time.Second
	ctx := within(t, 3*time.Minute)
	w := newTrial(t, newScene(t, "topics: {delay: {timers: broker}}"), topic)
	must(t, w.side.Start())
	posted := map[string]time.Time{}
	post := func() string {
		before := time.Now()
		id, err := w.post(ctx, &sent{topic: topic, body: []byte{byte(len(posted))}}, "MQ-Delay", delay.String())
		must(t, err)
		posted[id] = before
		return id
	}
	await(ctx, t, func() error { // it asks the brokers for their timers first
		s, err := w.story(ctx, post())
		if err == nil && s.State == "delayed" {
			err = errors.New("it is the spool that delays")
		}
		return err
	})
	for range 20 {
		post()
	}
	early := w.drained(ctx, t)
	must(t, w.side.Kill())
	w.all(ctx, t, w.ids())
	must(t, w.side.Start())
	w.judge(ctx, t)
	late := time.Duration(0)
	for _, c := range w.copies {
		waited := c.at.Sub(posted[c.id].Truncate(time.Millisecond))
		if waited < delay {
			t.Errorf("%s was on a broker %v after it was posted with a delay of %v", c.id, waited, delay)
		}
		late = max(late, waited-delay)
	}
	t.Logf("%d messages, delayed by %v, were confirmed within %v, and in their queues at most %v late", w.count(), delay, early, late)
}
