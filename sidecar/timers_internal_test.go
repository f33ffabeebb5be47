package sidecar

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker/rocketmq"
)

// The broker that takes the least decides; one that was never asked takes nothing, and one
// that is gone counts as it was.
func TestTimersFollowTheBrokers(t *testing.T) {
	with := func(enabled, seconds string) rocketmq.BrokerConfig {
		return rocketmq.BrokerConfig{Settings: map[string]string{"timerWheelEnable": enabled, "timerMaxDelaySec": seconds, "fileReservedTime": "720"}}
	}
	long, short, none, silent := with("true", "259200"), with("true", "3660"), with("false", "259200"), rocketmq.BrokerConfig{Err: errors.New("no answer")}
	x := newTimers(map[string]bool{"orders": true}, slog.New(slog.DiscardHandler))
	for _, step := range []struct {
		what    string
		brokers map[string]rocketmq.BrokerConfig
		err     error
		want    time.Duration
	}{
		{"nobody answers", nil, errors.New("no name server answers"), 0},
		{"no broker", nil, nil, 0},
		{"one that does not answer", map[string]rocketmq.BrokerConfig{"a": silent}, nil, 0},
		{"one that has a timer", map[string]rocketmq.BrokerConfig{"a": long}, nil, 72*time.Hour - time.Minute},
		{"one joins that takes less", map[string]rocketmq.BrokerConfig{"a": long, "b": short}, nil, time.Hour},
		{"it does not answer", map[string]rocketmq.BrokerConfig{"a": long, "b": silent}, nil, time.Hour},
		{"one joins that does not answer", map[string]rocketmq.BrokerConfig{"a": long, "b": short, "c": silent}, nil, 0},
		{"it answers", map[string]rocketmq.BrokerConfig{"a": long, "b": short, "c": long}, nil, time.Hour},
		{"nobody answers any more", nil, errors.New("no name server answers"), time.Hour},
		{"one has none any more", map[string]rocketmq.BrokerConfig{"a": none, "b": short}, nil, 0},
		{"it is gone, and may come back", map[string]rocketmq.BrokerConfig{"b": short}, nil, 0},
	} {
		c := &timedCluster{step.brokers, step.err}
		x.hear(c.ask(t.Context()))
		if ahead, is := x.of("orders"); ahead != step.want || !is {
			t.Errorf("%s: %v ahead, %v; want %v", step.what, ahead, is, step.want)
		}
		if ahead, is := x.of("other"); ahead != 0 || is {
			t.Errorf("%s: a topic that asks for no timer has %v, %v", step.what, ahead, is)
		}
	}
}

// What was decided is in the log from the first answer on, also that there is no timer.
func TestTimersSayThatThereAreNone(t *testing.T) {
	var said bytes.Buffer
	x := newTimers(map[string]bool{"orders": true}, slog.New(slog.NewTextHandler(&said, nil)))
	c := &timedCluster{brokers: map[string]rocketmq.BrokerConfig{"a": {Settings: map[string]string{"timerWheelEnable": "false"}}}}
	for range 2 {
		x.hear(c.ask(t.Context()))
	}
	if n := strings.Count(said.String(), "a has no timer"); n != 1 {
		t.Errorf("it is said %d times, want once: %s", n, &said)
	}
}

// timedCluster answers as the test says.
type timedCluster struct {
	brokers map[string]rocketmq.BrokerConfig
	err     error
}

func (c *timedCluster) ask(context.Context) (all []rocketmq.BrokerConfig, err error) {
	for name, b := range c.brokers {
		b.Name = name
		all = append(all, b)
	}
	return all, c.err
}
