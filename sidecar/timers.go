package sidecar

import (
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/broker/rocketmq"
)

// timers knows how far ahead of their time the brokers take messages for their own
// timers, for the topics of topics.delay. A broker that was never asked takes none; one
// that is gone counts as it was when it was last seen: it may be back before it is seen again.
type timers struct {
	topics map[string]bool
	log    *slog.Logger

	ahead atomic.Int64 // of the broker that takes the least, a time.Duration

	// Of the goroutine that asks.
	told   bool                     // the log has what was decided
	known  map[string]time.Duration // by broker
	whyNot map[string]string        // of those that take none
}

func newTimers(topics map[string]bool, log *slog.Logger) *timers {
	return &timers{topics: topics, log: log, known: map[string]time.Duration{}, whyNot: map[string]string{}}
}

// of is what [spool.Options] ask.
func (t *timers) of(topic string) (ahead time.Duration, is bool) {
	if !t.topics[topic] {
		return 0, false
	}
	return time.Duration(t.ahead.Load()), true
}

// reach is what [forwarder.Options] ask.
func (t *timers) reach(topic string) time.Duration {
	ahead, _ := t.of(topic)
	return ahead
}

// hear takes what the brokers say (brokerWatch); what they said before holds where they
// cannot be asked.
func (t *timers) hear(all []rocketmq.BrokerConfig, err error) {
	if err != nil {
		return
	}
	for _, b := range all {
		ahead, whyNot := b.TimerAhead()
		if _, seen := t.known[b.Name]; b.Err != nil && seen {
			continue
		}
		t.known[b.Name], t.whyNot[b.Name] = ahead, whyNot
		if b.Err != nil {
			delete(t.known, b.Name)
		}
	}
	t.decide(all)
}

// decide takes the least of all brokers: a topic may have queues at any of them.
func (t *timers) decide(all []rocketmq.BrokerConfig) {
	least, why := time.Duration(0), "the name servers know no broker that is a master"
	if len(t.known) > 0 {
		least, why = slices.Min(slices.Collect(maps.Values(t.known))), ""
	}
	for _, b := range all {
		if _, known := t.known[b.Name]; !known {
			least = 0
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.whyNot)) {
		if why == "" {
			why = t.whyNot[name]
		}
	}
	told := t.told
	t.told = true
	switch was := time.Duration(t.ahead.Swap(int64(least))); {
	case was == least && told:
	case least > 0:
		t.log.Info("delayed messages of topics.delay go to the brokers' timers", "ahead", least)
	default:
		t.log.Warn("delayed messages of topics.delay wait in the spool until they are due", "why", why)
	}
}
