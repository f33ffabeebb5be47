package sidecar

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/dedupe/local"
	"github.com/remora-mq/remora/spool"
)

// knownCollector shows what is known of messages that are gone, and how much of
// that there may be.
type knownCollector struct {
	spool *spool.Spool
	marks *local.Store // nil: no handler is called
}

// knownGauges are its gauges, in the order in which Collect has their values.
var knownGauges = []*prometheus.Desc{
	prometheus.NewDesc("remora_spool_receipts", "Receipts of settled messages that are kept.", nil, nil),
	prometheus.NewDesc("remora_spool_receipt_bytes", "Bytes of receipts on disk.", nil, nil),
	prometheus.NewDesc("remora_spool_receipt_limit_bytes", "Bytes of receipts above which those that were settled first are dropped.", nil, nil),
	prometheus.NewDesc("remora_spool_idempotency_keys", "Idempotency keys that are known.", nil, nil),
	prometheus.NewDesc("remora_spool_idempotency_bytes", "Bytes that idempotency keys take, in memory and on disk together, those of held messages too.", nil, nil),
	prometheus.NewDesc("remora_spool_idempotency_limit_bytes", "Bytes of the idempotency keys of settled messages above which the oldest are dropped.", nil, nil),
	prometheus.NewDesc("remora_spool_idempotency_window_seconds", "How long an idempotency key is known at least, now.", nil, nil),
}

// markGauges are those of the dedupe store.
var markGauges = []*prometheus.Desc{
	prometheus.NewDesc("remora_dedupe_marks", "Dedupe marks on disk.", nil, nil),
	prometheus.NewDesc("remora_dedupe_bytes", "Bytes of dedupe marks on disk.", nil, nil),
	prometheus.NewDesc("remora_dedupe_limit_bytes", "Bytes of dedupe marks above which the oldest are dropped.", nil, nil),
	prometheus.NewDesc("remora_dedupe_window_seconds", "How long a handled message is known at least, now: dedupe.window or a longer one of a subscription, unless older marks were dropped for their bytes.", nil, nil),
}

// Describe implements prometheus.Collector.
func (c knownCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range knownGauges {
		ch <- d
	}
	if c.marks == nil {
		return
	}
	for _, d := range markGauges {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c knownCollector) Collect(ch chan<- prometheus.Metric) {
	k := c.spool.Known()
	gauges(ch, knownGauges, float64(k.Receipts), float64(k.ReceiptBytes), float64(k.ReceiptsLimit),
		float64(k.DedupeKeys), float64(k.DedupeBytes), float64(k.DedupeMaxBytes), c.spool.DedupeWindow().Seconds())
	if c.marks != nil {
		m := c.marks.Stats()
		gauges(ch, markGauges, float64(m.Marks), float64(m.Bytes), float64(m.LimitBytes), m.Window.Seconds())
	}
}

func gauges(ch chan<- prometheus.Metric, all []*prometheus.Desc, values ...float64) {
	for i, d := range all {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, values[i])
	}
}
