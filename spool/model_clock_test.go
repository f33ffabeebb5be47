package spool_test

import (
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
)

// wall is the wall clock of the model: time as it passes, and by how much it was set.
type wall struct {
	clock *clock
	ahead atomic.Int64 // milliseconds
	set   bool         // ever
	until time.Time    // of time as it passes: it is not believed before; zero: it is
}

func (w *wall) now() time.Time {
	return w.clock.now().Add(time.Duration(w.ahead.Load()) * time.Millisecond)
}

func (w *wall) wasSet() bool { return w.set }

// believed: what time ends is ended.
func (w *wall) believed() bool { return w.until.IsZero() }

// setClock sets the wall clock by more than an hour: no TTL ends from then on, and
// what is to be delivered at a time follows at once. Where something was imported the
// other spool, which has the same clock, would have to be followed, too.
func (m *model) setClock(t *rapid.T) {
	if m.other != nil {
		return
	}
	by := time.Duration(rapid.SampledFrom([]int{-300, -61, 61, 300}).Draw(t, "minutes")) * time.Minute
	m.wall.ahead.Add(by.Milliseconds())
	m.wall.set, m.wall.until = true, m.clock.now().Add(time.Hour)
	m.rig.expire() // which looks at it
	m.synced()
	if step, is := m.ClockStep(); !is || step.By != by || !step.Until.Equal(m.wall.now().Add(time.Hour)) {
		t.Fatalf("set by %v: %+v, %v", by, step, is)
	}
	m.timeHasCome(t)
	m.expire(t) // nothing
}

// steadyClock believes it when it was not set for an hour.
func (m *model) steadyClock() {
	if m.wall.believed() || m.wall.until.After(m.clock.now()) {
		return
	}
	m.rig.expire()
	m.synced()
	m.wall.until = time.Time{}
}

// confirmClock: an operator says that it is right.
func (m *model) confirmClock(t *rapid.T) {
	_, was, err := m.ConfirmClock(t.Context())
	if err != nil || was == m.wall.believed() {
		t.Fatalf("confirmed: %v, %v; it was believed: %v", was, err, m.wall.believed())
	}
	if was {
		m.synced()
	}
	m.wall.until = time.Time{}
	m.expire(t)
}

// clockAfterStart: a start believes no clock sooner. It may doubt one that went on by
// more than an hour since the spool last wrote, as the model's does at each step.
func (m *model) clockAfterStart() {
	step, is := m.ClockStep()
	if !is && !m.wall.believed() {
		m.t.Fatal("a start believes a clock that was set")
	}
	if !is {
		return
	}
	until := m.clock.now().Add(step.Until.Sub(m.wall.now()))
	if until.Before(m.wall.until) || until.After(m.clock.now().Add(time.Hour)) {
		m.t.Fatalf("a start believes the clock at %v, before it was %v", until, m.wall.until)
	}
	m.wall.until = until
}

// advance lets retries become due.
func (m *model) advance(t *rapid.T) {
	m.clock.advance(time.Duration(rapid.SampledFrom([]int{20, 60}).Draw(t, "minutes")) * time.Minute)
	m.timeHasCome(t)
	m.steadyClock()
	m.expire(t)
}

// timeHasCome follows what waited for its time.
func (m *model) timeHasCome(t *rapid.T) {
	for _, h := range m.all {
		if !h.state.Volatile() || h.due.After(m.wall.now()) {
			continue
		}
		if h.state == message.StateInFlight {
			m.lapse(h)
		}
		h.state = message.StatePending
	}
	m.WakeDue()
	m.fallDue(t)
}
