package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// trial is a sidecar, its cluster and its application, and what came of it.
type trial struct {
	*scene
	*application
	*reading

	topics []string
}

// newTrial creates the topics, and starts nothing.
func newTrial(t *testing.T, s *scene, topics ...string) *trial {
	t.Helper()
	for _, topic := range topics {
		s.CreateTopic(t, topic, queues)
	}
	return &trial{s, newApplication(t, s), newReading(s, topics...), topics}
}

// drained waits until the brokers have confirmed all that was accepted, and
// returns how long that took.
func (w *trial) drained(ctx context.Context, t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	w.confirmed(ctx, t, w.count())
	return time.Since(began)
}

// judge wants all that was accepted on the brokers, and nothing wrong with it,
// and a ledger that says the same. confirmed is how much of it went there.
func (w *trial) judge(ctx context.Context, t *testing.T) {
	t.Helper()
	w.all(ctx, t, w.ids())
	lostAnswers := func(id string) int {
		s, err := w.story(ctx, id)
		if err != nil {
			t.Error(err)
		}
		return s.lostAnswers()
	}
	if wrong := w.verdict(w.copies, lostAnswers); len(wrong) > 0 {
		t.Error(briefly(wrong))
	}
	if l, err := w.ledger(ctx); err != nil || !l.Balanced || l.Total.Accepted != w.count() || l.Total.Confirmed != w.count() {
		t.Errorf("ledger %+v (%v), want %d accepted and confirmed, and balanced", l, err, w.count())
	}
}

// reaches waits until a message is in a state.
func (w *trial) reaches(ctx context.Context, t *testing.T, id, state string) {
	t.Helper()
	await(ctx, t, func() error {
		s, err := w.story(ctx, id)
		if err == nil && s.State != state {
			err = fmt.Errorf("%s is %s, want %s: %+v", id, s.State, state, s)
		}
		return err
	})
}

// refused fails until an attempt has ended with a status.
func (s *scene) refused(ctx context.Context, t *testing.T, status string) error {
	t.Helper()
	if s.attempts(ctx, t, status) == 0 {
		return fmt.Errorf("no attempt has ended with %s yet", status)
	}
	return nil
}
