package spool_test

import (
	"context"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// timerTopic is the topic whose delayed messages are for the broker's timer.
const timerTopic = "timers"

// modelTimer is what the model knows of a message as one for the broker's timer.
type modelTimer struct {
	is    bool      // it is for a timer
	wakes time.Time // when the broker may take it, by the wall clock, as far as is known
	seq   uint64    // that it has while it is delayed
	told  time.Time // when it was due that the broker has confirmed; zero: it was by then
}

// timerOf is what the spool asks.
func (m *model) timerOf(topic string) (time.Duration, bool) {
	return time.Duration(m.ahead.Load()), topic == timerTopic
}

// setTimer changes how far ahead the broker takes messages, or that it takes any.
func (m *model) setTimer(t *rapid.T) {
	m.ahead.Store(int64(rapid.SampledFrom([]time.Duration{0, 30 * time.Minute, time.Hour, 10 * time.Hour}).Draw(t, "ahead")))
}

// forTimer finds out whether a message that is accepted now is for the broker's timer, by
// the wall clock then.
func (m *model) forTimer(h *held) {
	if h.draft.Topic != timerTopic || h.draft.OrderingKey != "" || m.ahead.Load() <= 0 || !h.until.After(m.wall.now()) {
		return
	}
	h.timer.is, h.timer.wakes = true, m.near(h)
	if i, err := m.Find(context.Background(), h.id); err == nil { // else it is taken in later
		h.timer.seq = i.Message.Seq
	}
}

// near is when the broker takes h for its timer, as it is now; it takes none: when it is due.
func (m *model) near(h *held) time.Time { return h.until.Add(-time.Duration(m.ahead.Load())) }

// delaysAnew reports whether a message that the broker may take does not become pending:
// it takes none any more, or none for so long.
func (m *model) delaysAnew(h *held) bool {
	if h.timer.is {
		h.timer.wakes = m.near(h)
	}
	return h.timer.is && h.timer.wakes.After(m.wall.now())
}

// awaitAnew waits until they were looked at: what the broker takes afterwards counts when
// they are looked at next.
func (m *model) awaitAnew(t *rapid.T, all []*held) {
	for _, h := range all {
		for began := time.Now(); ; time.Sleep(time.Millisecond) {
			i, err := m.Find(t.Context(), h.id)
			if err != nil || time.Since(began) > 20*time.Second {
				t.Fatalf("%.20s is not delayed anew: %v", h.draft.Body, err)
			}
			if i.Message.Seq != h.timer.seq {
				h.timer.seq = i.Message.Seq
				break
			}
			m.WakeDue()
		}
	}
}

// handOver is called when the broker has confirmed h.
func (m *model) handOver(h *held) {
	if h.timer.told = (time.Time{}); h.timer.is && h.until.After(m.wall.now()) {
		h.timer.told = h.until
	}
}

// deliverAt is what the receipt of h says.
func (m *model) deliverAt(h *held) time.Time {
	switch h.state {
	case message.StateDelayed:
		return h.until
	case message.StateConfirmed:
		return h.timer.told
	}
	return time.Time{}
}

// sameTimer wants a lease to have the time of a message for the timer, and no other.
func (h *held) sameTimer(t *rapid.T, l *spool.Lease) {
	want := time.Time{}
	if h.timer.is {
		want = h.until
	}
	if !l.TimerAt().Equal(want) {
		t.Fatalf("leased %.20q for a timer at %v, want %v", l.Body, l.TimerAt(), want)
	}
}

// postpone gives leases back without an attempt: no broker takes them for its timer.
func (m *model) postpone(t *rapid.T) {
	hs, ls := m.some(t, 3)
	due := m.wall.now().Add(time.Duration(rapid.IntRange(1, 120).Draw(t, "minutes")) * time.Minute)
	for i, h := range hs {
		m.Postpone(ls[i], due, "no broker has a timer")
		h.state, h.due = message.StateRetrying, due
	}
	m.expire(t)
}
