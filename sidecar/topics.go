package sidecar

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// Topic is what GET /v1/topics tells of one: why it is held up, and its messages by
// state.
type Topic struct {
	Topic  string   `json:"topic"`
	State  string   `json:"state"` // running, or the weightiest cause of held_up
	HeldUp []HeldUp `json:"held_up"`

	spool.InSpool

	Held uint64 `json:"held"` // by an operator, one by one
}

// topics is what the admin listener may do with topics.
func (s *Sidecar) topics() *admin.Topics {
	return &admin.Topics{
		List:   func() (any, error) { return s.tellTopics() },
		Pause:  s.pauseTopic,
		Resume: s.resumeTopic,
	}
}

// pauseTopic stops forwarding a topic, until it is resumed, also after a restart. When
// it returns no attempt begins any more, and that is on stable storage.
func (s *Sidecar) pauseTopic(ctx context.Context, topic string) (any, error) {
	return s.decideTopic(ctx, topic, func(ctx context.Context, sp *spool.Spool) error {
		_, err := sp.PauseTopic(ctx, topic)
		return err
	})
}

// resumeTopic takes that back.
func (s *Sidecar) resumeTopic(ctx context.Context, topic string) (any, error) {
	return s.decideTopic(ctx, topic, func(ctx context.Context, sp *spool.Spool) error { return sp.ResumeTopic(ctx, topic) })
}

func (s *Sidecar) decideTopic(ctx context.Context, topic string, do func(context.Context, *spool.Spool) error) (any, error) {
	sp := s.spool.Load()
	if sp == nil {
		return nil, errSpoolNotOpen()
	}
	ctx, cancel := s.decision(ctx)
	defer cancel()
	err := do(ctx, sp)
	if errors.Is(err, spool.ErrNotFound) {
		return nil, problem.New(problem.UnknownTopic, "no message of the topic %.130q was ever accepted", topic)
	}
	if err != nil {
		return nil, err
	}
	s.notePauses(sp)
	return tellTopic(topic, sp.TopicLedger(topic), s.heldUpTopic(sp, topic)), nil
}

func errSpoolNotOpen() error { return problem.New(problem.Starting, "the spool is not open yet") }

// notePauses tells the conditions whether any topic is paused.
func (s *Sidecar) notePauses(sp *spool.Spool) {
	s.conditions.Set(admin.TopicPaused, sp.AnyPaused())
}

// sayPaused says which topics were left paused.
func (s *Sidecar) sayPaused(sp *spool.Spool) {
	paused := sp.Paused()
	for _, topic := range slices.Sorted(maps.Keys(paused)) {
		s.log.Warn("topic was paused by an operator, and is until it is resumed", "topic", topic, "since", paused[topic],
			"resume", "sidecar topic resume "+topic)
	}
	s.notePauses(sp)
}

// tellTopics tells of all topics, by name.
func (s *Sidecar) tellTopics() ([]Topic, error) {
	sp := s.spool.Load()
	if sp == nil {
		return nil, errSpoolNotOpen()
	}
	led, heldUp := sp.Ledger(), s.heldUpTopics(sp)
	all := []Topic{}
	for topic, c := range led.Topics {
		all = append(all, tellTopic(topic, c, heldUp[topic]))
	}
	slices.SortFunc(all, func(a, b Topic) int { return cmp.Compare(a.Topic, b.Topic) })
	return all, nil
}

func tellTopic(topic string, c spool.Counts, heldUp []HeldUp) Topic {
	out := Topic{Topic: topic, State: "running", HeldUp: orEmpty(heldUp), InSpool: c.InSpool, Held: c.OnHold + c.DelayedOnHold}
	if len(out.HeldUp) > 0 {
		out.State = out.HeldUp[0].Cause
	}
	return out
}

// heldUpTopics are the topics that are held up, each with its causes, the weightiest
// first.
func (s *Sidecar) heldUpTopics(sp *spool.Spool) map[string][]HeldUp {
	all := map[string][]HeldUp{}
	for topic, since := range sp.Paused() {
		all[topic] = append(all[topic], heldUpPaused(since))
	}
	f := s.forwarding.Load()
	if f == nil {
		return all
	}
	for topic, status := range f.Parked() {
		all[topic] = append(all[topic], heldUpParked(status))
	}
	for topic, cause := range f.FailingTopics() {
		all[topic] = append(all[topic], heldUpFailing(cause))
	}
	return all
}

// heldUpTopic is that of one topic, for which no other is looked at.
func (s *Sidecar) heldUpTopic(sp *spool.Spool, topic string) (all []HeldUp) {
	if since := sp.PausedSince(topic); !since.IsZero() {
		all = append(all, heldUpPaused(since))
	}
	f := s.forwarding.Load()
	if f == nil {
		return all
	}
	if status, cause := f.HeldUp(topic); status != "" {
		all = append(all, heldUpParked(status))
	} else if cause != "" {
		all = append(all, heldUpFailing(cause))
	}
	return all
}

func heldUpPaused(since time.Time) HeldUp {
	return HeldUp{Cause: "paused", Since: since.UTC(), Detail: "by an operator"}
}

func heldUpParked(status string) HeldUp { return HeldUp{Cause: "parked", Detail: status} }

func heldUpFailing(cause string) HeldUp { return HeldUp{Cause: "failing", Detail: cause} }

// pausedTopics are those of the status.
func pausedTopics(sp *spool.Spool) []PausedTopic {
	out, paused := []PausedTopic{}, sp.Paused()
	for _, topic := range slices.Sorted(maps.Keys(paused)) {
		out = append(out, PausedTopic{topic, paused[topic].UTC()})
	}
	return out
}

// pausedCollector tells of the paused topics when it is asked.
type pausedCollector struct{ spool *spool.Spool }

var pausedDesc = prometheus.NewDesc("remora_topic_paused",
	"1 for each topic that an operator has paused: it is accepted, and nothing of it is forwarded.", []string{"topic"}, nil)

// Describe implements prometheus.Collector.
func (pausedCollector) Describe(ch chan<- *prometheus.Desc) { ch <- pausedDesc }

// Collect implements prometheus.Collector.
func (c pausedCollector) Collect(ch chan<- prometheus.Metric) {
	for topic := range c.spool.Paused() {
		ch <- prometheus.MustNewConstMetric(pausedDesc, prometheus.GaugeValue, 1, topic)
	}
}
