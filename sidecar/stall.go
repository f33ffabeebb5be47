package sidecar

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/internal/kv"
)

// stalled is kv's OnStall.
func (s *Sidecar) stalled(is bool) { s.conditions.Set(admin.SyncStalled, is) }

// maxQueued is how many bytes may wait for the disk. What is being received waits
// there with its body, which may be cut into chunks besides; more is what requests
// have left that were refused meanwhile.
func (s *Sidecar) maxQueued() int {
	return 2 * int(max(s.cfg.Memory.Ingest, s.cfg.Spool.MaxBatch.Bytes, s.cfg.Spool.MaxMessage))
}

// stalledError is why nothing was closed. It is safe not to: the next start
// recovers what was answered, as after a crash.
func (s *Sidecar) stalledError() error {
	since, _ := s.parts.db.Stalled()
	return fmt.Errorf("%w: a write has not come to its end since %s, so the spool was left as it is: look at the disk that holds %s, and start again",
		ErrStorage, since.UTC().Format(time.RFC3339), s.cfg.Spool.Dir)
}

// openUntil is open, left behind when it goes on for drain.timeout after ctx is
// done: on a disk that does not answer it may do so for ever. Nothing was accepted
// by then, and a crash at any instant of it is safe.
func (s *Sidecar) openUntil(ctx context.Context) (left bool, err error) {
	opened := make(chan error, 1)
	go func() { opened <- s.open(ctx) }()
	select {
	case err = <-opened:
		return false, err
	case <-ctx.Done():
	}
	timer := time.NewTimer(s.cfg.Drain.Timeout.Std())
	defer timer.Stop()
	select {
	case err = <-opened:
		return false, err
	case <-timer.C:
		s.log.Warn("the opening of the spool has not come to its end; the next start begins it again", "dir", s.cfg.Spool.Dir, "drain_timeout", s.cfg.Drain.Timeout.String())
		return true, nil
	}
}

// stallCollector shows whether the disk does its work.
type stallCollector struct{ db *kv.DB }

var (
	stalledDesc = prometheus.NewDesc("remora_spool_sync_stalled_seconds", "How long a write to the spool's disk has not come to its end, from spool.sync_timeout on; 0 while the disk does its work.", nil, nil)
	stallsDesc  = prometheus.NewDesc("remora_spool_sync_stalls_total", "Times that a write to the spool's disk took longer than spool.sync_timeout.", nil, nil)
)

// Describe implements prometheus.Collector.
func (stallCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- stalledDesc
	ch <- stallsDesc
}

// Collect implements prometheus.Collector.
func (c stallCollector) Collect(ch chan<- prometheus.Metric) {
	since, times := c.db.Stalled()
	seconds := 0.0
	if !since.IsZero() {
		seconds = time.Since(since).Seconds()
	}
	ch <- prometheus.MustNewConstMetric(stalledDesc, prometheus.GaugeValue, seconds)
	ch <- prometheus.MustNewConstMetric(stallsDesc, prometheus.CounterValue, float64(times))
}
