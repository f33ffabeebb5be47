package spool_test

import (
	"context"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// resendSome orders confirmed messages to be sent again. With a retention that
// outlasts the model all of them are found, but for those that were redriven.
func (m *model) resendSome(t *rapid.T) {
	m.flush()
	m.synced()
	var f spool.ResendFilter
	switch rapid.IntRange(0, 2).Draw(t, "filter") {
	case 0:
		f.Topic = rapid.SampledFrom(modelTopics).Draw(t, "topic")
	case 1:
		for _, h := range m.all {
			if rapid.Bool().Draw(t, "asked for") {
				f.IDs = append(f.IDs, h.id)
			}
		}
	}
	got, err := m.Resend(t.Context(), f, false)
	if err != nil {
		t.Fatal(err)
	}
	confirmed := 0
	for _, h := range m.all {
		if h.state != message.StateConfirmed || h.redriven || f.Topic != "" && h.draft.Topic != f.Topic || f.IDs != nil && !slices.Contains(f.IDs, h.id) {
			continue
		}
		confirmed++
		h.ordered = true
		h.owed = h.owed || m.keepsAll()
	}
	if n := got.Messages + got.Already; n > confirmed || m.keepsAll() && n < confirmed {
		t.Fatalf("found %d messages of %d that were confirmed: %+v", n, confirmed, got)
	}
	if m.keepsAll() && f.IDs != nil && len(got.Missing) != len(f.IDs)-confirmed {
		t.Fatalf("missing are %d, not confirmed %d", len(got.Missing), len(f.IDs)-confirmed)
	}
}

// keepsAll: what is confirmed is kept for longer than the model goes on.
func (m *model) keepsAll() bool {
	return m.opts.RetainFor > 500*time.Hour && m.opts.RetainBytes > 1<<30 && !m.gaveUp
}

// copied takes leases of copies, and returns the others. What is sent again was
// confirmed and asked for, and is what it was.
func (m *model) copied(t *rapid.T, leases []*spool.Lease) (rest []*spool.Lease) {
	var again []*spool.Lease
	for _, l := range leases {
		h := m.all[slices.IndexFunc(m.all, func(h *held) bool { return h.id == l.ID })]
		if h.state != message.StateConfirmed {
			rest = append(rest, l)
			continue
		}
		if !h.ordered || l.TopicSeq != h.topicSeq || l.Topic != h.draft.Topic || !slices.Equal(l.Body, h.draft.Body) {
			t.Fatalf("sent again, asked for %v: %.20q, number %d, want %.20q, %d", h.ordered, l.Body, l.TopicSeq, h.draft.Body, h.topicSeq)
		}
		h.sameTimer(t, l)
		again = append(again, l)
		h.owed = false
	}
	if len(again) > 0 && len(rest) > 0 {
		t.Fatalf("copies and others in one lease")
	}
	m.rig.confirm(again)
	return rest
}

// sendAgain sends all copies of a topic, unless others of it, whose ordering
// keys they may have, are under way.
func (m *model) sendAgain(t *rapid.T) {
	topic := rapid.SampledFrom(modelTopics).Draw(t, "topic")
	if !m.paused[topic].IsZero() {
		return
	}
	for _, h := range m.all {
		if h.draft.Topic == topic && (h.state == message.StateInFlight || h.state == message.StateRetrying) {
			return
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for m.Ledger().Topics[topic].Resending > 0 {
		leases, err := m.Lease(ctx, topic, spool.LeaseOptions{})
		if err != nil {
			t.Fatalf("copies are not sent: %v; %+v", err, m.Ledger().Topics[topic])
		}
		others := m.copied(t, leases)
		m.Release(others)
		for _, l := range others {
			m.all[slices.IndexFunc(m.all, func(h *held) bool { return h.id == l.ID })].leased = true
		}
		m.flush()
		m.synced()
	}
	for _, h := range m.all {
		if h.draft.Topic == topic && h.owed {
			t.Fatalf("%.20q was ordered and not sent again", h.draft.Body)
		}
	}
}

// imports takes in what another spool holds: all of it comes over once, with its
// numbers and dedupe keys.
func (m *model) imports(t *rapid.T) {
	if m.wall.wasSet() { // the other's was not
		return
	}
	if m.other == nil {
		m.other = &rig{t: t, dir: m.dir + "-other", kv: kv.Options{MemTableSize: 1 << 20}}
		m.clock.rule(&m.other.opts)
		m.other.open()
	}
	known := len(m.all)
	for range rapid.IntRange(1, 4).Draw(t, "messages") {
		d := m.draw(t)
		state := rapid.IntRange(0, 3).Draw(t, "state")
		if state == 1 {
			d.OrderingKey = "" // else it may wait behind one on hold
		}
		if state < 2 {
			d.Delay, d.DeliverAt = 0, time.Time{}
		}
		h := &held{id: m.other.accept(d)[0].ID, draft: d, former: true, imported: true, until: m.until(d), falls: m.falls(d)}
		if h.waitsElsewhere = m.tooSoonElsewhere(h); !h.waitsElsewhere {
			h.topicSeq = m.numberElsewhere(d.Topic)
		}
		m.forTimer(h)
		h.state = m.firstState(h)
		if h.leased = h.state != message.StateDelayed; h.leased { // as far as can be known
			m.beginTTL(h)
		}
		switch state {
		case 0:
			m.other.putOnHold(h.id)
			h.onHold = true
		case 1:
			m.other.buryNext(d.Topic, h.id)
			h.state, h.expires = message.StateDead, time.Time{}
		}
		m.all = append(m.all, h)
	}
	done := m.take(m.other.export(spool.Query{}))
	m.synced()
	if done.Messages != len(m.all)-known || done.Known != m.imported || done.Refused != 0 {
		t.Fatalf("%+v, want %d new and %d known", done, len(m.all)-known, m.imported)
	}
	m.imported += done.Messages
	for _, h := range m.all[:known] { // an attempt may have been made elsewhere, as far as the topic knows
		h.former = h.former || slices.ContainsFunc(m.all[known:], func(o *held) bool { return o.draft.Topic == h.draft.Topic && o.state != message.StateDelayed })
	}
	m.inOrder(t, known)
}

// inOrder puts imported messages into the order in which they were taken in.
func (m *model) inOrder(t *rapid.T, from int) {
	seq := map[message.ID]uint64{}
	for _, h := range m.all[from:] {
		i, err := m.Find(t.Context(), h.id)
		if err != nil {
			t.Fatalf("%s was not taken in: %v", h.state, err)
		}
		seq[h.id], h.timer.seq = i.Message.Seq, i.Message.Seq
	}
	slices.SortFunc(m.all[from:], func(a, b *held) int { return int(seq[a.id]) - int(seq[b.id]) })
}

// buryNext makes a pending message of a topic a dead letter, whatever is before it.
func (r *rig) buryNext(topic string, id message.ID) {
	r.t.Helper()
	var others []*spool.Lease
	for buried := false; !buried; {
		for _, l := range r.lease(topic, 0) {
			if l.ID == id {
				r.bury(l)
				buried = true
			} else {
				others = append(others, l)
			}
		}
	}
	r.Release(others)
}
