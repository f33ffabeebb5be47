package rocketmq

import (
	"fmt"
	"strconv"
	"time"
)

// Needs is what a sidecar asks of a broker.
type Needs struct {
	MaxMessage     int64         // bytes of a body
	AttemptTimeout time.Duration // of the producer
	SQL            bool          // a subscription filters by SQL
	Timer          bool          // delayed messages are for the broker's own timer
}

// Weakness is a setting of a broker that takes something from the promise.
type Weakness struct {
	Text string // what happens
	Hint string // what to change
}

// Assess returns what is weak, the worst first. The settings and what they mean
// are those of BrokerConfig and MessageStoreConfig of RocketMQ 5.3.3. A setting
// that the broker does not name is not judged, but for those of its timer.
func (b BrokerConfig) Assess(n Needs) (all []Weakness) {
	add := func(is bool, hint, format string, args ...any) {
		if is {
			all = append(all, Weakness{b.Name + " " + fmt.Sprintf(format, args...), hint})
		}
	}
	is := func(name, value string) bool { return b.Settings[name] == value }
	add(b.lacks("brokerPermission", permWrite), "set brokerPermission=6", "is read-only: it takes no message")
	all = append(all, b.volatile()...)
	add(is("brokerRole", "SYNC_MASTER") && b.slower("slaveTimeout", n), "set slaveTimeout below forwarder.attempt_timeout",
		"waits longer for its slave (slaveTimeout=%s ms) than an attempt (%s): each attempt may leave a copy", b.Settings["slaveTimeout"], n.AttemptTimeout)
	add(is("flushDiskType", "SYNC_FLUSH") && b.slower("syncFlushTimeout", n), "set forwarder.attempt_timeout above syncFlushTimeout",
		"waits as long for its disk (syncFlushTimeout=%s ms) as an attempt (%s): its answer that it has the message may be lost, and each attempt leaves a copy", b.Settings["syncFlushTimeout"], n.AttemptTimeout)
	add(b.below("maxMessageSize", n.MaxMessage), "lower spool.max_message, or raise maxMessageSize",
		"takes messages up to %s bytes, the sidecar accepts %d: a larger one becomes a dead letter", b.Settings["maxMessageSize"], n.MaxMessage)
	add(n.SQL && is("enablePropertyFilter", "false"), "set enablePropertyFilter=true", "refuses subscriptions with an SQL filter")
	if why := b.timerless(); n.Timer && why != "" {
		all = append(all, Weakness{why + ": delayed messages of topics.delay wait in the spool until they are due", "set timerWheelEnable=true and timerMaxDelaySec, which RocketMQ has since 5.0, fileReservedTime to more hours, and neither timerStopEnqueue nor timerStopDequeue, or leave topics.delay out"})
	}
	add(b.Settings["messageDelayLevel"] != "" && !is("messageDelayLevel", defaultDelayLevels), "set messageDelayLevel to its default",
		"has delay levels of its own (messageDelayLevel=%s): what is sent back comes again after another time than asked for", b.Settings["messageDelayLevel"])
	return all
}

// defaultDelayLevels is MessageStoreConfig.messageDelayLevel.
const defaultDelayLevels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"

func (b BrokerConfig) number(name string) (n int64, ok bool) {
	n, err := strconv.ParseInt(b.Settings[name], 10, 64)
	return n, err == nil
}

func (b BrokerConfig) lacks(name string, bit int64) bool {
	n, ok := b.number(name)
	return ok && n&bit == 0
}

func (b BrokerConfig) below(name string, want int64) bool {
	n, ok := b.number(name)
	return ok && n < want
}

// slower reports whether the broker's timeout, in ms, does not end before an
// attempt.
func (b BrokerConfig) slower(name string, n Needs) bool {
	ms, ok := b.number(name)
	return ok && n.AttemptTimeout > 0 && time.Duration(ms)*time.Millisecond >= n.AttemptTimeout
}
