package ackgate

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are shared by the gates of a process.
type Metrics struct {
	requests, acks, checks, sendBacks, unmarked, unchecked, panics, leases, jumps *prometheus.CounterVec
	inFlight, held, leased, blocked, unreachable, heldUp                          *prometheus.GaugeVec
	handled                                                                       *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them; nil: they are not registered.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{}
	counters := []struct {
		to         **prometheus.CounterVec
		name, help string
		labels     []string
	}{
		{&m.requests, "remora_deliver_requests_total", "Handler calls, by status or one of timeout, unreachable, broken; and pulled, messages that were.", []string{"subscription", "code"}},
		{&m.acks, "remora_acks_total", "Messages acked, by reason: handled, repeat, sent_back, dead_letter.", []string{"subscription", "reason"}},
		{&m.checks, "remora_dedupe_checks_total", "Look-ups in the dedupe store: begun, repeat, in_progress, conflict, error.", []string{"store", "result"}},
		{&m.sendBacks, "remora_deliver_send_backs_total", "Send-backs to the broker: confirmed, refused.", []string{"subscription", "result"}},
		{&m.unmarked, "remora_deliver_unmarked_total", "Messages acked after a 200 whose done mark could not be written.", []string{"subscription"}},
		{&m.leases, "remora_deliver_leases_total", "Leases that ended: acked, nacked, expired, superseded, untold (of a pull that reached nobody); and late, acks after that.", []string{"subscription", "result"}},
		{&m.unchecked, "remora_deliver_unchecked_total", "Handler calls without a look-up, because the dedupe store was down and on_error is pass.", []string{"subscription"}},
		{&m.jumps, "remora_deliver_jumps_total", "Times that the broker had nothing at a queue's offset, and consuming went on elsewhere: messages may have been passed over.", []string{"subscription"}},
		{&m.panics, "remora_deliver_panics_total", "Panics while delivering; the message is held.", []string{"subscription"}},
	}
	for _, c := range counters {
		*c.to = prometheus.NewCounterVec(prometheus.CounterOpts{Name: c.name, Help: c.help}, c.labels)
		register(r, *c.to)
	}
	m.handled = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "remora_deliver_handled_seconds",
		Help:    "From taking a message from the broker to its ack, of those that were handled: waits, calls and dedupe marks included.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 300},
	}, []string{"subscription"})
	register(r, m.handled)
	gauges := []struct {
		to         **prometheus.GaugeVec
		name, help string
		labels     []string
	}{
		{&m.inFlight, "remora_deliver_in_flight", "Handler calls that run.", []string{"subscription"}},
		{&m.held, "remora_deliver_held", "Messages taken from the broker and not yet acked.", []string{"subscription"}},
		{&m.leased, "remora_deliver_leased", "Messages that the application has leased.", []string{"subscription"}},
		{&m.blocked, "remora_deliver_blocked_keys", "Ordering keys that wait for a message that was delivered and is not done.", []string{"subscription"}},
		{&m.unreachable, "remora_deliver_unreachable", "1 while the handler cannot be reached and the subscription is held.", []string{"subscription"}},
		{&m.heldUp, "remora_deliver_held_up", "1 while calls of the subscription are held up, by cause: paused, not_ready, unreachable, failing; or messages that no broker takes back: send_back_refused.", []string{"subscription", "cause"}},
	}
	for _, g := range gauges {
		*g.to = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: g.name, Help: g.help}, g.labels)
		register(r, *g.to)
	}
	return m
}

// Jumped counts that the broker moved the place of a subscription's group.
func (m *Metrics) Jumped(subscription string) { m.jumps.WithLabelValues(subscription).Inc() }

func register(r prometheus.Registerer, c prometheus.Collector) {
	if r != nil {
		r.MustRegister(c)
	}
}

// counted are the metrics of one gate that change with each message: to find them by
// their labels each time costs more than to count.
type counted struct {
	held, inFlight         prometheus.Gauge
	took                   prometheus.Observer // of handled messages
	requests, acks, checks *series
}

func (m *Metrics) ofEach(subscription, store string) counted {
	return counted{
		held: m.held.WithLabelValues(subscription), inFlight: m.inFlight.WithLabelValues(subscription),
		took:     m.handled.WithLabelValues(subscription),
		requests: newSeries(m.requests, subscription), acks: newSeries(m.acks, subscription), checks: newSeries(m.checks, store),
	}
}

// series are the counters of one owner, by their other label.
type series struct {
	all   *prometheus.CounterVec
	owner string

	mu    sync.Mutex
	known map[string]prometheus.Counter
}

func newSeries(all *prometheus.CounterVec, owner string) *series {
	return &series{all: all, owner: owner, known: map[string]prometheus.Counter{}}
}

func (s *series) of(label string) prometheus.Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.known[label]
	if c == nil {
		c = s.all.WithLabelValues(s.owner, label)
		s.known[label] = c
	}
	return c
}
