package forwarder

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/spool"
)

type metrics struct {
	attempts *prometheus.CounterVec
	confirm  prometheus.Histogram
	dead     *prometheus.CounterVec
	moved    *prometheus.CounterVec
	skipped  prometheus.Counter
}

const (
	deadName = "remora_dead_letters_total"
	deadHelp = "Messages that became dead letters on the producing side, by reason: the broker's status, or expired."
)

var deadDesc = prometheus.NewDesc(deadName, deadHelp, []string{"reason"}, nil)

// deadLetters are those that the forwarder made, and those of which the spool
// counts that they have expired.
type deadLetters struct {
	*prometheus.CounterVec

	expired func() uint64
}

func (d deadLetters) Collect(ch chan<- prometheus.Metric) {
	d.CounterVec.Collect(ch)
	ch <- prometheus.MustNewConstMetric(deadDesc, prometheus.CounterValue, float64(d.expired()), spool.ReasonExpired)
}

func newMetrics() *metrics {
	return &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remora_forward_attempts_total",
			Help: "Attempts to hand a batch to the broker, by outcome and the broker's status.",
		}, []string{"outcome", "status"}),
		confirm: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "remora_forward_confirm_seconds",
			Help:    "Time from accept to the broker's confirmation of a message.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 12),
		}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: deadName,
			Help: deadHelp,
		}, []string{"reason"}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "remora_ordering_skipped_total",
			Help: "Dead letters that later messages of their ordering key went past, with forwarder.ordering.on_dead: skip.",
		}),
		moved: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remora_ordering_moves_total",
			Help: "Queues whose ordering keys were moved to another one, by why: failing for forwarder.ordering.failover_after, or gone from the topic.",
		}, []string{"reason"}),
	}
}

func (m *metrics) attempt(err error) {
	status := "SEND_OK"
	if err != nil {
		status = "OTHER"
	}
	if se := (*broker.SendError)(nil); errors.As(err, &se) {
		status = se.Status
	}
	m.attempts.WithLabelValues(broker.OutcomeOf(err).String(), status).Inc()
}

func (m *metrics) confirmed(leases []*spool.Lease) {
	now := time.Now()
	for _, l := range leases {
		m.confirm.Observe(max(now.Sub(l.AcceptedAt), 0).Seconds())
	}
}

// Register adds the forwarder's metrics to r.
func (f *Forwarder) Register(r prometheus.Registerer) {
	up := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "remora_broker_up",
		Help: "0 while a topic that is not parked has messages to send and its last attempt failed, else 1.",
	}, func() float64 {
		if f.Failing() > 0 {
			return 0
		}
		return 1
	})
	failing := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "remora_brokers_failing",
		Help: "Brokers that get one message at a time, until one of them is answered with SEND_OK.",
	}, func() float64 { return float64(len(f.FailingBrokers())) })
	allowed := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "remora_forward_attempts_allowed",
		Help: "Attempts that may run at a time: forwarder.concurrency, and after an outage fewer, one more with each answer's time.",
	}, func() float64 { return float64(f.Allowed()) })
	r.MustRegister(allowed, f.metrics.attempts, f.metrics.confirm, deadLetters{f.metrics.dead, f.spool.Expired}, f.metrics.moved, f.metrics.skipped, up, failing, parkedCollector{f})
}
