package spool_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// acceptBatch accepts new messages together with repeats of themselves, and of former ones.
func (m *model) acceptBatch(t *rapid.T) {
	var drafts []spool.Draft
	for range rapid.IntRange(1, 6).Draw(t, "new") {
		d := m.draw(t)
		drafts = append(drafts, d)
		for range rapid.IntRange(0, 2).Draw(t, "repeats") {
			if d.DedupeKey != "" {
				drafts = append(drafts, d)
			}
		}
	}
	for _, h := range m.all {
		refused := h.state == message.StateCancelled || h.state == message.StateDiscarded
		if h.draft.DedupeKey != "" && !refused && rapid.IntRange(0, 3).Draw(t, "repeated") == 0 {
			drafts = append(drafts, h.draft)
		}
	}
	drafts = rapid.Permutation(drafts).Draw(t, "order")
	for i, r := range m.rig.accept(drafts...) {
		d := drafts[i]
		h := m.keyedAs(d)
		if r.Duplicate != (h != nil) {
			t.Fatalf("accepted %+v, it is known: %t", r, h != nil)
		}
		if h == nil {
			h = m.add(d, r)
		}
		if r.ID != h.id || r.State != h.state {
			t.Fatalf("accepted %+v, want %s %s", r, h.id, h.state)
		}
	}
}

// keyedAs is the message that was accepted, or imported, under the key of a draft; nil:
// none was.
func (m *model) keyedAs(d spool.Draft) *held {
	for _, h := range m.all {
		if d.DedupeKey != "" && h.draft.DedupeKey == d.DedupeKey {
			return h
		}
	}
	return nil
}

// lapse ends a lease of which nobody said what came of it.
func (m *model) lapse(h *held) {
	h.attempts++
	h.maybeSent = true
	m.late[h] = m.leases[h]
	delete(m.leases, h)
}

// confirmLate confirms a lease that has lapsed: the broker has the message. That counts
// where it is still known what was leased, and while it is on hold.
func (m *model) confirmLate(t *rapid.T) {
	var all []*held
	for _, h := range m.all {
		if m.late[h] != nil {
			all = append(all, h)
		}
	}
	if len(all) == 0 {
		return
	}
	h := rapid.SampledFrom(all).Draw(t, "message")
	m.rig.confirm([]*spool.Lease{m.late[h]})
	delete(m.late, h)
	waits := h.state == message.StatePending || h.state.Volatile()
	got, err := m.Receipt(t.Context(), h.id)
	switch {
	case err != nil:
		t.Fatal(err)
	case waits && (h.onHold || !h.away):
		if got.State != message.StateConfirmed {
			t.Fatalf("confirmed late, %.20s is %+v", h.draft.Body, got)
		}
		h.state, h.onHold, h.unsynced, h.expires = message.StateConfirmed, false, true, time.Time{}
		m.handOver(h)
		delete(m.leases, h)
	default:
		m.same(t, h, got)
	}
}

// keepsBack reports whether what was accepted after h waits for it, if they have one
// ordering key.
func (m *model) keepsBack(h *held) bool {
	return h.onHold && h.state != message.StateDelayed || m.opts.BlockOnDead && h.state == message.StateDead
}

// giveUp makes room of what is kept of confirmed messages.
func (m *model) giveUp(t *rapid.T) {
	dropped, err := m.GiveUpRetained(rapid.Int64Range(1, 1<<20).Draw(t, "bytes"))
	if err != nil {
		t.Fatal(err)
	}
	m.gaveUp = true
	if dropped > 0 { // else there may have been no commit
		m.synced()
	}
}

// exports has all that is held once.
func (m *model) exports(t *rapid.T) {
	messages, transactions := 0, 0
	for _, h := range m.all {
		if !h.state.Settled() && h.state != message.StateHalf && h.state != message.StateUndecided {
			messages++
		}
	}
	for _, x := range m.transactions {
		if !x.state.Decided() && slices.ContainsFunc(x.all, func(h *held) bool { return !h.state.Settled() }) {
			transactions++
		}
	}
	m.flush()
	m.synced()
	c, err := spool.CheckExport(bytes.NewReader(m.rig.export(spool.Query{})))
	if err != nil || c.Messages != messages || c.Transactions != transactions {
		t.Fatalf("exported %+v, %v; held are %d messages, and %d transactions", c, err, messages, transactions)
	}
}

// adopt leaves all transactions undecided that wait for their decision.
func (m *model) adopt(t *rapid.T) {
	open := 0
	for _, x := range m.transactions {
		if x.state == spool.TransactionHalf {
			open++
			m.follow(t, x, spool.TransactionUndecided)
		}
	}
	if n, err := m.AdoptTransactions(t.Context(), ""); err != nil || n != open {
		t.Fatalf("adopted %d transactions of %d: %v", n, open, err)
	}
	m.synced()
}

// compareAll has the next opening compare everything: it finds that nothing is missing, and
// changes nothing.
func (m *model) compareAll(t *rapid.T) {
	m.reopen(t) // ends all attempts: what has expired waits for its own
	if err := m.attach().Commit(t.Context(), func(tx *kv.Tx) { tx.Set([]byte("sl"), make([]byte, 4)) }, 1<<10); err != nil {
		t.Fatal(err)
	}
	before := m.Ledger().Topics
	m.rig.reopen()
	if d := m.Damage(); len(d.Reports) > 0 {
		t.Fatalf("compared: %+v", d.Reports)
	}
	m.reopen(t)
	for topic, is := range m.Ledger().Topics {
		if was := before[topic]; fmt.Sprint(is) != fmt.Sprint(was) {
			t.Fatalf("compared, topic %s has %+v, and had %+v", topic, is, was)
		}
	}
}

// newIdentity: IDs and numbers of new messages begin anew.
func (m *model) newIdentity(t *rapid.T) {
	was := m.ID()
	if err := m.NewIdentity(t.Context()); err != nil || m.ID() == was {
		t.Fatalf("%s, and was %s: %v", m.ID(), was, err)
	}
	m.synced()
}

// newKey encrypts under another key from the next opening on.
func (m *model) newKey(t *rapid.T) {
	if m.opts.Keys == nil || m.keyed > 4 {
		return
	}
	m.keyed++
	var keys []int
	for n := m.keyed; n > 0; n-- {
		keys = append(keys, n)
	}
	m.opts.Keys = ring(keys...)
	m.reopen(t)
	if older := m.OlderKeys(); len(older) > m.keyed-1 {
		t.Fatalf("under older keys are %v", slices.Collect(maps.Keys(older)))
	}
}
