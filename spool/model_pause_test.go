package spool_test

import (
	"errors"
	"slices"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/spool"
)

// pauseSome pauses a topic, which may be paused: that changes nothing.
func (m *model) pauseSome(t *rapid.T) {
	topic := rapid.SampledFrom(modelTopics).Draw(t, "topic")
	since, err := m.PauseTopic(t.Context(), topic)
	if !m.hasTopic(topic) {
		if !errors.Is(err, spool.ErrNotFound) {
			t.Fatalf("pause of %s, of which there was nothing: %v", topic, err)
		}
		return
	}
	if first, paused := m.paused[topic]; err != nil || paused && !first.Equal(since) {
		t.Fatalf("paused since %v and %v: %v", first, since, err)
	}
	m.paused[topic] = since
	m.synced()
}

func (m *model) resume(t *rapid.T) {
	topic := rapid.SampledFrom(modelTopics).Draw(t, "topic")
	if !m.hasTopic(topic) {
		return
	}
	if err := m.ResumeTopic(t.Context(), topic); err != nil {
		t.Fatalf("resume: %v", err)
	}
	delete(m.paused, topic)
	m.synced()
}

func (m *model) hasTopic(topic string) bool {
	return slices.ContainsFunc(m.all, func(h *held) bool { return h.draft.Topic == topic })
}

// comparePauses compares which topics are paused, and since when.
func (m *model) comparePauses(t *rapid.T) {
	got := m.Paused()
	for topic, since := range m.paused {
		if !got[topic].Equal(since) {
			t.Fatalf("%s is paused since %v, want %v", topic, got[topic], since)
		}
	}
	if len(got) != len(m.paused) {
		t.Fatalf("paused are %v, want %v", got, m.paused)
	}
}
