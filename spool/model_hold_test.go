package spool_test

import (
	"errors"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// putOnHold asks for a hold of any message: only what waits may be held.
func (m *model) putOnHold(t *rapid.T) {
	if len(m.all) == 0 {
		return
	}
	h := rapid.SampledFrom(m.all).Draw(t, "message")
	got, err := m.Hold(t.Context(), h.id)
	if h.state != message.StatePending && h.state != message.StateRetrying && h.state != message.StateDelayed {
		if !errors.Is(err, spool.ErrWrongState) {
			t.Fatalf("hold of %s: %v", h.state, err)
		}
		return
	}
	if h.state == message.StateRetrying {
		h.state = message.StatePending
	}
	if err != nil || !got.OnHold || got.State != h.state {
		t.Fatalf("hold of %s: %+v, %v", h.state, got, err)
	}
	if !h.onHold {
		m.synced()
	}
	h.onHold, h.away = true, true
}

func (m *model) releaseFromHold(t *rapid.T) {
	var held []*held
	for _, h := range m.all {
		if h.onHold {
			held = append(held, h)
		}
	}
	if len(held) == 0 {
		return
	}
	h := rapid.SampledFrom(held).Draw(t, "message")
	if got, err := m.ReleaseHeld(t.Context(), h.id); err != nil || got.OnHold {
		t.Fatalf("release: %+v, %v", got, err)
	}
	h.onHold = false
	m.synced()
	m.fallDue(t)
}

// waitsApart reports whether it has no place in its topic yet.
func (h *held) waitsApart() bool {
	return h.state == message.StateDelayed || h.state == message.StateHalf || h.state == message.StateUndecided
}

func (m *model) retryNow(t *rapid.T) {
	if len(m.all) == 0 {
		return
	}
	h := rapid.SampledFrom(m.all).Draw(t, "message")
	_, err := m.RetryNow(t.Context(), h.id)
	allowed := !h.onHold && !h.state.Settled() && h.state != message.StateDead && !h.waitsApart()
	if (err == nil) != allowed {
		t.Fatalf("retry of %s: %v", h.state, err)
	}
	if h.state == message.StateRetrying {
		h.state = message.StatePending
	}
}

// list walks over all pages: each held message is there once, as it stands, the
// delayed ones and those that wait in the order of accept, the dead letters behind,
// and with them what was redriven.
func (m *model) list(t *rapid.T) {
	got := map[message.ID]bool{}
	q := spool.Query{Limit: rapid.IntRange(1, 30).Draw(t, "limit"), Content: true}
	at := map[message.State]uint64{}
	for {
		page, err := m.List(t.Context(), q)
		if err != nil || page.Unreadable > 0 || len(page.Items) > q.Limit {
			t.Fatalf("list: %d items, %d unreadable, %v", len(page.Items), page.Unreadable, err)
		}
		for _, i := range page.Items {
			h := m.all[slices.IndexFunc(m.all, func(h *held) bool { return h.id == i.ID })]
			m.same(t, h, i.Receipt)
			part := i.State
			switch {
			case h.waitsApart():
				part = message.StateDelayed
			case part != message.StateDead:
				part = message.StatePending
			}
			if h.redriven {
				part = message.StateDead
			}
			if got[i.ID] || !slices.Equal(i.Message.Body, h.draft.Body) || part != message.StateDead && i.Message.Seq <= at[part] {
				t.Fatalf("listed %s %.20s, sequence %d, behind %d", i.State, i.Message.Body, i.Message.Seq, at[part])
			}
			got[i.ID], at[part] = true, i.Message.Seq
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	want := map[message.ID]bool{}
	for _, h := range m.all {
		if !h.state.Settled() {
			want[h.id] = true
		}
	}
	if !maps.Equal(got, want) {
		t.Fatalf("listed %d messages, %d are held", len(got), len(want))
	}
}
