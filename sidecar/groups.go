package sidecar

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/deadletter/notes"
	"github.com/remora-mq/remora/message"
)

// groups are the consumer groups of the subscriptions, with their dead letters.
type groups struct {
	all    map[string]*deadletter.Group // by name; of those that broadcast, also by the configured one
	own    map[string]*deadletter.Group // by name
	of     map[string]string            // group by subscription
	opened []broker.DeadLetters
}

// openGroups contacts nobody.
func (s *Sidecar) openGroups() error {
	g := &groups{all: map[string]*deadletter.Group{}, own: map[string]*deadletter.Group{}, of: map[string]string{}}
	s.parts.groups = g
	for _, c := range s.cfg.Subscriptions {
		c = c.WithDefaults(s.cfg.Dedupe.Window)
		configured := c.Group
		name := c.OfInstance(s.parts.spool.ID().String()).Group
		g.of[c.Name] = name
		if g.own[name] == nil {
			dead, err := s.parts.backend.DeadLetters(name)
			if err != nil {
				return err
			}
			g.opened = append(g.opened, dead)
			g.own[name] = deadletter.NewGroup(name, dead, s.parts.notes, s.log.With("component", "deadletter"))
		}
		g.all[name], g.all[configured] = g.own[name], g.own[name]
	}
	s.groups.Store(g)
	return nil
}

func (g *groups) close() error {
	if g == nil {
		return nil
	}
	var failed []error
	for _, d := range g.opened {
		failed = append(failed, d.Close())
	}
	return errors.Join(failed...)
}

// buriedGroups are the groups as the admin listener works on them.
func (s *Sidecar) buriedGroups() map[string]*deadletter.Group {
	if g := s.groups.Load(); g != nil {
		return g.all
	}
	return nil
}

// died notes why a subscription's message becomes a dead letter.
func (s *Sidecar) died(c config.Subscription) func(*message.Delivery, string, int) {
	return func(d *message.Delivery, cause string, attempts int) {
		s.parts.notes.Note(c.Group, d.Identity, notes.Reason{Cause: cause, Attempts: attempts, At: time.Now()})
	}
}

// countEvery is how often the dead letters of the groups are counted for the
// metrics.
const countEvery = 15 * time.Second

// countDeadLetters keeps the metrics of what waits for an operator, while there are
// subscriptions.
func (s *Sidecar) countDeadLetters(ctx context.Context) {
	if len(s.parts.groups.own) == 0 {
		return
	}
	m := newBuried(s.registry)
	s.parts.counting = s.parts.start(ctx, "dead letters", func(ctx context.Context) error {
		tick := time.NewTicker(countEvery)
		defer tick.Stop()
		failing := map[string]bool{}
		for {
			for _, name := range slices.Sorted(maps.Keys(s.parts.groups.own)) {
				n, oldest, err := s.parts.groups.own[name].Waiting(ctx)
				if ctx.Err() != nil {
					return nil
				}
				m.set(s.parts.groups, name, n, oldest, err)
				if err != nil && !failing[name] {
					s.log.Warn("dead letters of a group cannot be counted", "group", name, "error", err)
				}
				failing[name] = err != nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	})
}

// buried are the metrics of what waits.
type buried struct{ messages, oldest *prometheus.GaugeVec }

func newBuried(r prometheus.Registerer) *buried {
	m := &buried{
		messages: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "remora_deliver_dead_letters", Help: "Dead letters of the subscription's group that wait for an operator, at the broker. Absent when they could not be counted.",
		}, []string{"subscription"}),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "remora_deliver_dead_letters_oldest_timestamp_seconds", Help: "When the one that waits longest became a dead letter, in seconds since 1970. Absent when none waits, or they could not be read.",
		}, []string{"subscription"}),
	}
	r.MustRegister(m.messages, m.oldest)
	return m
}

func (m *buried) set(g *groups, group string, n int64, oldest time.Time, err error) {
	for sub, of := range g.of {
		switch {
		case of != group:
		case err != nil:
			m.messages.DeleteLabelValues(sub)
			m.oldest.DeleteLabelValues(sub)
		default:
			m.messages.WithLabelValues(sub).Set(float64(n))
			if m.oldest.DeleteLabelValues(sub); !oldest.IsZero() {
				m.oldest.WithLabelValues(sub).Set(float64(oldest.UnixMilli()) / 1000)
			}
		}
	}
}
