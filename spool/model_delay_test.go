package spool_test

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// until is when a draft that is accepted now will be pending, as it is told; zero:
// at once.
func (m *model) until(d spool.Draft) time.Time {
	if d.Delay > 0 {
		return m.wall.now().Add(d.Delay)
	}
	return d.DeliverAt
}

// falls is when that is whatever becomes of the wall clock; zero: it follows that.
func (m *model) falls(d spool.Draft) (at time.Time) {
	if d.Delay > 0 {
		at = m.clock.now().Add(d.Delay)
	}
	return at
}

// tooSoon reports whether a message that is delayed stays so.
func (m *model) tooSoon(h *held) bool {
	if h.timer.is {
		return h.timer.wakes.After(m.wall.now())
	}
	return m.tooSoonElsewhere(h)
}

// tooSoonElsewhere is that where no broker has a timer.
func (m *model) tooSoonElsewhere(h *held) bool {
	if h.falls.IsZero() {
		return h.until.After(m.wall.now())
	}
	return h.falls.After(m.clock.now())
}

func (m *model) firstState(h *held) message.State {
	if m.tooSoon(h) {
		return message.StateDelayed
	}
	return message.StatePending
}

// number gives h its number, as it becomes pending. No more are given under a
// spool ID that is not the spool's any more.
func (m *model) number(h *held) {
	if h.id.Spool() != m.ID() {
		return
	}
	h.topicSeq = 1
	for _, o := range m.all {
		if o != h && o.draft.Topic == h.draft.Topic && o.id.Spool() == h.id.Spool() && o.topicSeq > 0 {
			h.topicSeq++
		}
	}
}

// numberElsewhere gives the next number of a topic where imports come from.
func (m *model) numberElsewhere(topic string) uint64 {
	m.elsewhere[topic]++
	return m.elsewhere[topic]
}

// delayed counts what is.
func (m *model) delayed() (n uint64) {
	for _, h := range m.all {
		if h.state == message.StateDelayed {
			n++
		}
	}
	return n
}

// fallDue follows what has become pending: it stands behind all others now.
func (m *model) fallDue(t *rapid.T) {
	var due, anew, elsewhere []*held
	m.all = slices.DeleteFunc(m.all, func(h *held) bool {
		if h.imported && m.tooSoonElsewhere(h) {
			elsewhere = append(elsewhere, h)
		}
		if h.state != message.StateDelayed || h.onHold || m.tooSoon(h) {
			return false
		}
		if m.delaysAnew(h) {
			anew = append(anew, h)
			return false
		}
		due = append(due, h)
		return true
	})
	for _, h := range append(slices.Clone(m.all), due...) {
		if h.waitsElsewhere && !m.tooSoonElsewhere(h) {
			h.waitsElsewhere = false
			m.numberElsewhere(h.draft.Topic)
		}
	}
	m.awaitAnew(t, anew)
	m.awaitDelayed(m.delayed())
	if m.other != nil {
		m.other.awaitDelayed(uint64(len(elsewhere)))
	}
	if len(due) == 0 {
		return
	}
	from := len(m.all)
	m.all = append(m.all, due...)
	m.inOrder(t, from)
	for _, h := range m.all[from:] {
		h.state, h.former = message.StatePending, false
		m.number(h)
		m.beginTTL(h)
	}
	m.synced()
}
