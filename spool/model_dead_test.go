package spool_test

import (
	"errors"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// anyOf draws some messages, whatever they are: only dead letters may be
// redriven or discarded.
func (m *model) anyOf(t *rapid.T) (some []*held) {
	most := rapid.IntRange(1, 6).Draw(t, "most")
	for _, dead := range []bool{true, false} {
		for _, h := range m.all {
			if len(some) < most && dead == (h.state == message.StateDead) && rapid.Bool().Draw(t, "taken") {
				some = append(some, h)
			}
		}
	}
	return some
}

func idsOf(some []*held) (ids []message.ID) {
	for _, h := range some {
		ids = append(ids, h.id)
	}
	return ids
}

// refusedRightly fails the test unless exactly those that are no dead letters
// were refused, but for one that has the state already.
func refusedRightly(t *rapid.T, some []*held, refused map[message.ID]error, err error) {
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range some {
		got := refused[h.id]
		if h.state == message.StateDead && got != nil || h.state != message.StateDead && !errors.Is(got, spool.ErrWrongState) {
			t.Fatalf("%s %.20s: %v", h.state, h.draft.Body, got)
		}
	}
}

func (m *model) redrive(t *rapid.T) {
	some := m.anyOf(t)
	_, refused, err := m.Redrive(t.Context(), idsOf(some))
	refusedRightly(t, some, refused, err)
	for _, h := range some {
		if h.state == message.StateDead {
			h.state, h.attempts, h.redriven = message.StatePending, 0, true
			m.synced()
		}
	}
}

func (m *model) discard(t *rapid.T) {
	some := m.anyOf(t)
	_, refused, err := m.Discard(t.Context(), idsOf(some))
	refusedRightly(t, some, refused, err)
	for _, h := range some {
		if h.state == message.StateDead {
			h.state = message.StateDiscarded
			m.synced()
		}
	}
}

// leasedAgain takes what was redriven out of what may be leased, and was: it has
// no place in the order, because it comes when it was read: after a restart also
// before what was put on hold and is not read yet.
func (m *model) leasedAgain(t *rapid.T, free []*held, leases []*spool.Lease) (rest []*held, others []*spool.Lease) {
	again := map[message.ID]*held{}
	for _, h := range m.all {
		if h.redriven && h.state == message.StatePending && !h.onHold {
			again[h.id] = h
		}
	}
	for _, h := range free {
		if !h.redriven {
			rest = append(rest, h)
		}
	}
	for _, l := range leases {
		if h := again[l.ID]; h != nil {
			m.leased(t, h, l)
		} else {
			others = append(others, l)
		}
	}
	return rest, others
}
