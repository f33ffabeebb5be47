package sidecar

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// metrics are those of the spool, which itself knows no Prometheus.
type metrics struct {
	seconds prometheus.Histogram
	batch   prometheus.Histogram
	balance prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "remora_spool_commit_seconds",
			Help:    "Duration of a group commit with its sync.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 15),
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "remora_spool_commit_batch_messages",
			Help:    "Messages that were accepted, or changed their state, in one group commit; a batch of a request counts as one.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
	}
	m.balance = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "remora_ledger_balanced",
		Help: "1 if the last count of the records agreed with the ledger, 0 if not, -1 before the first. GET /v1/ledger of the admin listener counts.",
	})
	m.balance.Set(-1)
	r.MustRegister(m.seconds, m.batch, m.balance)
	return m
}

func (m *metrics) setBalanced(balanced bool) {
	m.balance.Set(map[bool]float64{true: 1}[balanced])
}

// commit is kv's OnCommit.
func (m *metrics) commit(c kv.CommitStats) {
	m.seconds.Observe(c.Duration.Seconds())
	m.batch.Observe(float64(c.Ops))
}

// watchSpool registers gauges that are read from the ledger when asked for.
func (m *metrics) watchSpool(r prometheus.Registerer, p *parts) {
	r.MustRegister(&ledgerCollector{spool: p.spool}, roomCollector{p.room}, stallCollector{p.db}, knownCollector{p.spool, p.marks}, clockCollector{p.spool}, pausedCollector{p.spool})
}

type ledgerCollector struct{ spool *spool.Spool }

var (
	messagesDesc = prometheus.NewDesc("remora_spool_messages", "Messages held, by state.", []string{"state"}, nil)
	heldDesc     = prometheus.NewDesc("remora_spool_held_bytes", "Bytes of held messages.", nil, nil)
	acceptedDesc = prometheus.NewDesc("remora_spool_accepted_total", "Messages accepted since the spool was made.", nil, nil)
	oldestDesc   = prometheus.NewDesc("remora_spool_oldest_unconfirmed_timestamp_seconds", "Since when the message that waits longest for its confirmation could have been sent, in seconds since 1970: its accept, its due time if it was delayed, its redrive. Absent when none waits; dead letters and what an operator holds, or has paused, do not count. The alarm: time() minus this.", nil, nil)
	retainedDesc = prometheus.NewDesc("remora_spool_retained_bytes", "Bytes of confirmed messages that are kept to be sent again if the broker loses them.", nil, nil)
	blockedDesc  = prometheus.NewDesc("remora_ordering_blocked_keys", "Ordering keys whose later messages wait for a dead letter, with forwarder.ordering.on_dead: block.", nil, nil)
	resentDesc   = prometheus.NewDesc("remora_spool_resent_total", "Confirmed messages that were sent again and confirmed again since the spool was made.", nil, nil)
	settledDesc  = prometheus.NewDesc("remora_spool_settled_total", "Messages settled since the spool was made, by how they ended.", []string{"state"}, nil)
)

var (
	verifiedDesc = prometheus.NewDesc("remora_spool_verified_bytes_total", "Bytes of the spool's tables that were read again to find rot.", nil, nil)
	passesDesc   = prometheus.NewDesc("remora_spool_verify_passes_total", "Times that all tables of the spool were read again to find rot.", nil, nil)
)

// Describe implements prometheus.Collector.
func (*ledgerCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{messagesDesc, heldDesc, oldestDesc, acceptedDesc, settledDesc, verifiedDesc, passesDesc, retainedDesc, resentDesc, blockedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *ledgerCollector) Collect(ch chan<- prometheus.Metric) {
	total := c.spool.Total()
	for _, state := range []message.State{message.StatePending, message.StateInFlight, message.StateRetrying, message.StateDead} {
		ch <- prometheus.MustNewConstMetric(messagesDesc, prometheus.GaugeValue, float64(total.State(state)), state.String())
	}
	for _, state := range message.States() {
		if state.Settled() {
			ch <- prometheus.MustNewConstMetric(settledDesc, prometheus.CounterValue, float64(total.State(state)), state.String())
		}
	}
	if oldest, ok := c.spool.Oldest(); ok {
		ch <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, float64(oldest.UnixMilli())/1000)
	}
	ch <- prometheus.MustNewConstMetric(acceptedDesc, prometheus.CounterValue, float64(total.Accepted))
	ch <- prometheus.MustNewConstMetric(retainedDesc, prometheus.GaugeValue, float64(c.spool.Retained().Bytes))
	ch <- prometheus.MustNewConstMetric(blockedDesc, prometheus.GaugeValue, float64(c.spool.BlockedKeys()))
	ch <- prometheus.MustNewConstMetric(resentDesc, prometheus.CounterValue, float64(total.Resent))
	ch <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(total.Bytes))
	verified := c.spool.Verified()
	ch <- prometheus.MustNewConstMetric(verifiedDesc, prometheus.CounterValue, float64(verified.Bytes))
	ch <- prometheus.MustNewConstMetric(passesDesc, prometheus.CounterValue, float64(verified.Passes))
}

// conditionCollector shows what is the case while accepts go on.
type conditionCollector struct{ conditions *admin.Conditions }

var degradedDesc = prometheus.NewDesc("remora_degraded", "1 for each reason for which the sidecar is degraded now, else 0.", []string{"reason"}, nil)

// Describe implements prometheus.Collector.
func (conditionCollector) Describe(ch chan<- *prometheus.Desc) { ch <- degradedDesc }

// Collect implements prometheus.Collector. It always shows all, so that an alarm has a 0
// to begin from.
func (c conditionCollector) Collect(ch chan<- prometheus.Metric) {
	for _, reason := range admin.Degrading() {
		is := map[bool]float64{true: 1}[c.conditions.Is(reason)]
		ch <- prometheus.MustNewConstMetric(degradedDesc, prometheus.GaugeValue, is, string(reason))
	}
}
