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

// Answers to the questions of brokers.
const (
	openHalf       = "unknown"    // it is not decided, or just being told
	rolledBackHalf = "rollback"   // replaced, or over
	repairedHalf   = "commit"     // again: it was lost
	unknownHalf    = "unknown_id" // nobody knows it
)

type keeperMetrics struct {
	questions                           *prometheus.CounterVec
	renewed, dropped, lost, sentInstead prometheus.Counter
}

func newKeeperMetrics() *keeperMetrics {
	m := &keeperMetrics{
		questions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remora_half_message_questions_total",
			Help: "Questions of brokers for the decision of half messages, by the answer. The alarm is unknown_id: nobody here knows it.",
		}, []string{"answer"}),
		renewed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "remora_half_messages_renewed_total",
			Help: "Half messages that were replaced, because their broker would have dropped them: they wait too long for a decision.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "remora_half_messages_dropped_total",
			Help: "Half messages that were replaced, because their broker had dropped them: it had asked for them as often as it does, and nobody was there.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "remora_half_messages_lost_total",
			Help: "Half messages at whose place their broker had another message, or none, when it was looked at: it has lost the end of its log, or deleted its beginning. They were replaced, or over.",
		}),
		sentInstead: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "remora_half_messages_gone_total",
			Help: "Half messages that were committed when their broker had them no more: their messages were sent.",
		}),
	}
	for _, answer := range []string{openHalf, rolledBackHalf, repairedHalf, unknownHalf} {
		m.questions.WithLabelValues(answer)
	}
	return m
}

// Collectors are the keeper's metrics.
func (k *Keeper) Collectors() []prometheus.Collector {
	return []prometheus.Collector{k.metrics.questions, k.metrics.renewed, k.metrics.dropped, k.metrics.lost, k.metrics.sentInstead}
}

// Collectors are the checker's metrics.
func (c *Checker) Collectors() []prometheus.Collector {
	return []prometheus.Collector{c.metrics.checks}
}
