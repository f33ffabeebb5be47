package forwarder

import (
	"errors"
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/broker"
)

// parked are the topics that wait for an operator: their last attempt was refused
// for the topic itself, by every broker. Their messages are kept, and tried again.
type parked struct {
	waiting func(topic string) int

	mu     sync.Mutex
	topics map[string]string // and the broker's status
}

// note tells how an attempt of a topic ended, and returns the status that parks
// it from now on; "": nothing has changed.
func (p *parked) note(topic string, err error) (status string) {
	if se := (*broker.SendError)(nil); errors.As(err, &se) && se.Parked {
		status = se.Status
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.topics[topic] == status {
		return ""
	}
	if status == "" {
		delete(p.topics, topic)
		return ""
	}
	if p.topics == nil {
		p.topics = map[string]string{}
	}
	p.topics[topic] = status
	return status
}

// statusOf is the broker's status that parks a topic; "": none does.
func (p *parked) statusOf(topic string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.topics[topic]
}

// Parked returns the topics that wait for an operator and have something to send,
// with the broker's status: no such topic, or no permission.
func (f *Forwarder) Parked() map[string]string {
	f.parked.mu.Lock()
	all := maps.Clone(f.parked.topics)
	f.parked.mu.Unlock()
	maps.DeleteFunc(all, func(topic, _ string) bool { return f.parked.waiting(topic) == 0 })
	return all
}

var parkedDesc = prometheus.NewDesc("remora_topic_parked",
	"1 for each topic that the broker refuses for itself, with its status, while there is something to send: create it, or give permission.",
	[]string{"topic", "status"}, nil)

// Describe implements prometheus.Collector.
func (f parkedCollector) Describe(ch chan<- *prometheus.Desc) { ch <- parkedDesc }

// Collect implements prometheus.Collector.
func (f parkedCollector) Collect(ch chan<- prometheus.Metric) {
	for topic, status := range f.Parked() {
		ch <- prometheus.MustNewConstMetric(parkedDesc, prometheus.GaugeValue, 1, topic, status)
	}
}

// parkedCollector tells of the parked topics when it is asked.
type parkedCollector struct{ *Forwarder }
