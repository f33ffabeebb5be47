package config

import "fmt"

// Who keeps the delayed messages of a topic until they are due.
const (
	DelaySpool  = "spool"
	DelayBroker = "broker" // its own timer, of those that it takes
)

// AtBroker are the topics whose delayed messages are for the broker's timer.
func (t Topics) AtBroker() map[string]bool {
	all := map[string]bool{}
	for topic, who := range t.Delay {
		if who == DelayBroker {
			all[topic] = true
		}
	}
	return all
}

// delays wants a broker that has a timer.
func (c *Config) delays(p *Problems) {
	for topic, who := range c.Topics.Delay {
		path := fmt.Sprintf("topics.delay.%s", topic)
		p.published(path, topic)
		p.oneOf(path, who, DelaySpool, DelayBroker)
		if who == DelayBroker && c.Broker.Type == BrokerEmbedded {
			p.addf(path, "the embedded broker has no timer: leave the key out, and the spool keeps delayed messages until they are due")
		}
	}
}
