package spool_test

import (
	"context"
	"fmt"
	"maps"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// restarted: what was volatile is pending. A confirmation that nothing was
// synced behind may be lost.
func (m *model) restarted() {
	m.clockAfterStart()
	clear(m.leases)
	clear(m.late)
	for _, h := range m.all {
		h.former, h.due = true, time.Time{}
		if h.unsynced {
			if got, err := m.Receipt(context.Background(), h.id); err == nil && (got.State == message.StatePending || got.State == message.StateDead) {
				h.state = message.StatePending
			}
			h.unsynced = false
		}
		if h.state.Volatile() {
			h.state = message.StatePending
		}
		if h.state == message.StatePending {
			h.attempts = 0
			h.maybeSent = h.maybeSent || h.leased
		}
	}
}

func (m *model) audit(t *rapid.T) {
	a := m.balanced()
	m.compare(t, a.Ledger.Total)
	m.exceptions(t)
	for _, h := range m.all {
		got, err := m.Receipt(t.Context(), h.id)
		if err != nil {
			t.Fatalf("receipt of %s %.20s: %v", h.state, h.draft.Body, err)
		}
		m.same(t, h, got)
	}
}

// exceptions compares what is said to have ended otherwise than confirmed.
func (m *model) exceptions(t *rapid.T) {
	for _, topic := range modelTopics {
		want := map[message.ID]string{}
		for _, h := range m.all {
			if h.draft.Topic == topic && (h.topicSeq > 0 || h.state == message.StateDead) && (h.state == message.StateCancelled || h.state == message.StateDiscarded || h.state == message.StateDead) {
				want[h.id] = fmt.Sprint(h.topicSeq, h.state)
			}
		}
		got := map[message.ID]string{}
		for _, e := range m.rig.exceptions(topic, 3) {
			got[e.ID] = fmt.Sprint(e.TopicSeq, e.State)
		}
		if !maps.Equal(got, want) {
			t.Fatalf("exceptions of %s: %v, want %v", topic, got, want)
		}
	}
}

// check compares the ledger after each step.
func (m *model) check(t *rapid.T) {
	m.compare(t, m.Ledger().Total)
	m.comparePauses(t)
}

func (m *model) compare(t *rapid.T, got spool.Counts) {
	want, unsynced, onHold := map[message.State]uint64{}, uint64(0), map[bool]uint64{}
	for _, h := range m.all {
		want[h.state]++
		if h.onHold {
			onHold[h.state == message.StateDelayed]++
		}
		if h.unsynced {
			unsynced++
		}
	}
	lazy := want[message.StateConfirmed] - got.Confirmed // not recorded yet
	if got.Accepted != uint64(len(m.all)) || lazy > unsynced || got.OnHold != onHold[false] || got.DelayedOnHold != onHold[true] {
		t.Fatalf("ledger %+v, want %v of %d, %d of them not synced", got, want, len(m.all), unsynced)
	}
	want[message.StateHalf] += want[message.StateUndecided]
	want[message.StateConfirmed] -= lazy
	want[message.StatePending] += lazy
	for s, n := range want {
		if s != message.StateUndecided && got.State(s) != n {
			t.Fatalf("ledger says %d %s, want %d", got.State(s), s, n)
		}
	}
}

func (m *model) same(t *rapid.T, h *held, got message.Receipt) {
	if got.ID != h.id || got.Topic != h.draft.Topic || got.State != h.state || got.OnHold != h.onHold || got.State == message.StateConfirmed && got.Confirmation == nil {
		t.Fatalf("%.20s is %+v, want %s", h.draft.Body, got, h.state)
	}
	if want := m.deliverAt(h); !got.DeliverAt.Equal(want) && (h.state == message.StateDelayed || h.state == message.StateConfirmed) {
		t.Fatalf("%.20s is to be delivered at %v, want %v", h.draft.Body, got.DeliverAt, want)
	}
	if !h.state.Settled() && h.state != message.StateDead && got.Attempts != h.attempts {
		t.Fatalf("%.20s: %d attempts, want %d", h.draft.Body, got.Attempts, h.attempts)
	}
}
