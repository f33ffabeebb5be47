package rocketmq

import (
	"fmt"
	"time"
)

// timerMargin is how much nearer than the broker's limit a message has to be due for its
// timer: clocks differ.
const timerMargin = time.Minute

// keptMargin is how much sooner it has to be due than the broker deletes its log: it may
// be late, or down at that time.
const keptMargin = time.Hour

// TimerAhead is how far ahead of its time the broker takes a message for its timer; 0: it
// takes none, and why not says why. A broker of RocketMQ 4 has no such settings: it would
// deliver at once. What is not known counts as none. Until a message is due it lies in the
// broker's log alone, which is deleted after fileReservedTime: the timer passes over what
// is not there any more (TimerDequeueGetMessageService).
func (b BrokerConfig) TimerAhead() (ahead time.Duration, whyNot string) {
	if b.Err != nil {
		return 0, fmt.Sprintf("the configuration of %s cannot be read: %v", b.Name, b.Err)
	}
	if w := b.timerless(); w != "" {
		return 0, w
	}
	return min(b.longestTimer()-timerMargin, b.keptFor()-keptMargin), ""
}

// maxTimer is far above what any broker takes, in seconds.
const maxTimer = 10 * 365 * 24 * 3600

// timerless is why the broker has no timer, or takes messages for it that it does not
// deliver: it confirms them also while the timer is stopped. "": it has one.
func (b BrokerConfig) timerless() string {
	if b.Settings["timerWheelEnable"] != "true" {
		return fmt.Sprintf("%s has no timer (timerWheelEnable=%s)", b.Name, b.Settings["timerWheelEnable"])
	}
	for _, stopped := range []string{"timerStopEnqueue", "timerStopDequeue"} {
		if b.Settings[stopped] == "true" {
			return fmt.Sprintf("%s has stopped its timer (%s=true)", b.Name, stopped)
		}
	}
	if b.longestTimer() <= timerMargin {
		return fmt.Sprintf("%s has a timer for next to nothing (timerMaxDelaySec=%s)", b.Name, b.Settings["timerMaxDelaySec"])
	}
	if b.keptFor() <= keptMargin {
		return fmt.Sprintf("%s may delete a message before it is due (fileReservedTime=%s)", b.Name, b.Settings["fileReservedTime"])
	}
	return ""
}

// longestTimer is 0 where the broker does not tell.
func (b BrokerConfig) longestTimer() time.Duration {
	seconds, _ := b.number("timerMaxDelaySec")
	return time.Duration(min(max(seconds, 0), maxTimer)) * time.Second
}

// keptFor is how long the broker keeps its log at least; 0: it does not tell.
func (b BrokerConfig) keptFor() time.Duration {
	hours, _ := b.number("fileReservedTime")
	return time.Duration(min(max(hours, 0), maxTimer/3600)) * time.Hour
}
