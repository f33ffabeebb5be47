package rocketmq

import (
	"fmt"
	"time"
)

// timerMargin is how much nearer than the broker's limit a message has to be due for its
// timer: clocks differ.
const timerMargin = time.Minute

// TimerAhead is how far ahead of its time the broker takes a message for its timer; 0: it
// takes none, and why not says why. A broker of RocketMQ 4 has no such settings: it would
// deliver at once. What is not known counts as none.
func (b BrokerConfig) TimerAhead() (ahead time.Duration, whyNot string) {
	if b.Err != nil {
		return 0, fmt.Sprintf("the configuration of %s cannot be read: %v", b.Name, b.Err)
	}
	if w := b.timerless(); w != "" {
		return 0, w
	}
	return b.longestTimer() - timerMargin, ""
}

// maxTimer is far above what any broker takes, in seconds.
const maxTimer = 10 * 365 * 24 * 3600

// timerless is why the broker has no timer; "": it has one.
func (b BrokerConfig) timerless() string {
	if b.Settings["timerWheelEnable"] != "true" {
		return fmt.Sprintf("%s has no timer (timerWheelEnable=%s)", b.Name, b.Settings["timerWheelEnable"])
	}
	if b.longestTimer() <= timerMargin {
		return fmt.Sprintf("%s has a timer for next to nothing (timerMaxDelaySec=%s)", b.Name, b.Settings["timerMaxDelaySec"])
	}
	return ""
}

// longestTimer is 0 where the broker does not tell.
func (b BrokerConfig) longestTimer() time.Duration {
	seconds, _ := b.number("timerMaxDelaySec")
	return time.Duration(min(max(seconds, 0), maxTimer)) * time.Second
}
