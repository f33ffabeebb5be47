package transaction

import "github.com/prometheus/client_golang/prometheus"

type metrics struct{ checks *prometheus.CounterVec }

func newMetrics() *metrics {
	m := &metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "remora_transaction_checks_total",
		Help: "Check-backs of transactions, by the application's answer; unknown is everything but a 200 with a decision.",
	}, []string{"answer"})}
	for a := range names {
		m.checks.WithLabelValues(names[a])
	}
	return m
}

var names = [...]string{unknown: "unknown", commit: "commit", rollback: "rollback"}

func (m *metrics) checked(a answer) { m.checks.WithLabelValues(names[a]).Inc() }

// Collectors are the checker's metrics.
func (c *Checker) Collectors() []prometheus.Collector {
	return []prometheus.Collector{c.metrics.checks}
}
