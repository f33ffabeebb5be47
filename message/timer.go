package message

import (
	"strconv"
	"time"
)

// Timer is when a message is due that the broker's own timer may keep: a Delay after
// it was accepted, or At a time of the wall clock. The zero Timer is of a message that
// is not delayed, or that the spool alone keeps until it is due.
type Timer struct {
	Delay time.Duration // in milliseconds
	At    time.Time     // with millisecond precision
}

// TimerAt is when m is due at the broker's timer; zero: it has no Timer.
func (m *Message) TimerAt() time.Time {
	if m.Timer.Delay > 0 {
		return m.AcceptedAt.Add(m.Timer.Delay)
	}
	return m.Timer.At
}

// A Timer is stored among the properties, under a name that no application may use
// (reservedPrefixes): its time in milliseconds.
const (
	timerDelay = "remora-delay"
	timerAt    = "remora-deliver-at"
)

// IsZero reports whether there is none.
func (t Timer) IsZero() bool { return t == Timer{} }

// property is what t is stored as.
func (t Timer) property() Property {
	if t.Delay > 0 {
		return Property{timerDelay, strconv.FormatInt(t.Delay.Milliseconds(), 10)}
	}
	return Property{timerAt, strconv.FormatInt(t.At.UnixMilli(), 10)}
}

// size is what t counts for.
func (t Timer) size() int {
	if t.IsZero() {
		return 0
	}
	p := t.property()
	return len(p.Name) + len(p.Value) + 2
}

// takeTimer reads a property that is a Timer; false: it is none.
func (m *Message) takeTimer(p Property) bool {
	if p.Name != timerDelay && p.Name != timerAt {
		return false
	}
	ms, err := strconv.ParseInt(p.Value, 10, 64)
	switch {
	case err != nil || ms <= 0: // no version writes that, as what is longer than can be
	case p.Name == timerDelay && ms <= MaxTTL.Milliseconds():
		m.Timer.Delay = time.Duration(ms) * time.Millisecond
	case p.Name == timerAt && ms <= farthest:
		m.Timer.At = time.UnixMilli(ms)
	}
	return true
}
