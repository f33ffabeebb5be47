package sidecar

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/spool"
)

// ClockStep is a wall clock that was set by more than an hour, and that nobody has
// confirmed: no TTL and no idempotency key ends until then, or until an hour has
// passed in which it was not set.
type ClockStep struct {
	By    string    `json:"by"` // how far, as 5h0m0s
	Until time.Time `json:"until"`
}

func clockStepOf(sp *spool.Spool) *ClockStep {
	step, is := sp.ClockStep()
	if !is {
		return nil
	}
	return &ClockStep{step.By.String(), step.Until.UTC()}
}

// ConfirmedClock is the answer of POST /v1/clock/confirm.
type ConfirmedClock struct {
	Confirmed bool   `json:"confirmed"` // false: there was nothing to confirm
	By        string `json:"by,omitempty"`
}

// confirmClock notes that the wall clock is right.
func (s *Sidecar) confirmClock(ctx context.Context) (any, error) {
	sp := s.spool.Load()
	if sp == nil {
		return nil, spool.ErrClosed // not open yet
	}
	step, was, err := sp.ConfirmClock(ctx)
	if err != nil || !was {
		return ConfirmedClock{}, err
	}
	s.conditions.Set(admin.ClockStep, false)
	return ConfirmedClock{true, step.By.String()}, nil
}

// clockCollector shows how far the wall clock was set.
type clockCollector struct{ spool *spool.Spool }

var clockDesc = prometheus.NewDesc("remora_spool_clock_step_seconds", "By how much the wall clock was set, while no TTL and no idempotency key ends because of that; else 0.", nil, nil)

// Describe implements prometheus.Collector.
func (clockCollector) Describe(ch chan<- *prometheus.Desc) { ch <- clockDesc }

// Collect implements prometheus.Collector.
func (c clockCollector) Collect(ch chan<- prometheus.Metric) {
	step, _ := c.spool.ClockStep()
	ch <- prometheus.MustNewConstMetric(clockDesc, prometheus.GaugeValue, step.By.Seconds())
}
