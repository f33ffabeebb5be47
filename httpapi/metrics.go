package httpapi

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	taken    prometheus.Counter // of requests: those answered 202, nearly all
	seconds  prometheus.Histogram
}

func newMetrics() *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remora_publish_requests_total",
			Help: "Publish requests answered, batches included, by HTTP status code.",
		}, []string{"code"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "remora_publish_accept_seconds",
			Help:    "Time from a publish request's header to its messages being durable; a Prefer: wait is not in it.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30},
		}),
	}
	m.taken = m.requests.WithLabelValues("202")
	return m
}

// answered counts a publish by its status.
func (m *metrics) answered(status int) {
	if status == 202 {
		m.taken.Inc()
		return
	}
	m.requests.WithLabelValues(strconv.Itoa(status)).Inc()
}

// accepted observes a publish that began at the time given and is durable now.
func (m *metrics) accepted(began time.Time) { m.seconds.Observe(time.Since(began).Seconds()) }

// Register adds the listener's metrics to a registry, once.
func (s *Server) Register(reg prometheus.Registerer) error {
	return errors.Join(reg.Register(s.metrics.requests), reg.Register(s.metrics.seconds))
}
