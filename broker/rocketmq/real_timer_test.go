//go:build !race

package rocketmq

import (
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	rmq "github.com/remora-mq/remora/test/rocketmq"
)

// due makes a message that is due at the broker's timer then.
func (s *sending) due(at time.Time, body string) *message.Message {
	m := wireTestMessage(s.topic, body)
	m.Timer.At = at.Truncate(time.Millisecond)
	return m
}

// arrived waits for the first message with a body in the topic's queue.
func (s *sending) arrived(body string) rmq.Message {
	s.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		all, err := s.broker().Pull(s.topic, 0, 0)
		must(s.t, err)
		if i := slices.IndexFunc(all, func(m rmq.Message) bool { return string(m.Body) == body }); i >= 0 {
			return all[i]
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%q is not there: %d messages are", body, len(all))
		}
	}
}

// The broker's timer puts a message into its queue not before it is due, and soon
// after; also when it was killed between, which may make it do so again. What is due goes
// there at once.
func TestBrokerTimer(t *testing.T) {
	s := newSending(t)
	due := map[string]time.Time{"near": time.Now().Add(3 * time.Second), "far": time.Now().Add(8 * time.Second), "past": time.Now().Add(-time.Second)}
	for body, at := range due {
		must(t, s.try(s.due(at, body)))
	}
	if m := s.arrived("past"); m.Properties[propTimer] != "" {
		t.Errorf("what is due is sent with %v", m.Properties)
	}
	near := s.arrived("near")
	must(t, s.broker().Kill())
	must(t, s.broker().Start())
	for _, m := range []rmq.Message{near, s.arrived("far")} {
		late := m.StoredAt.Sub(due[string(m.Body)].Truncate(time.Millisecond))
		if t.Logf("%q is there %v after it is due", m.Body, late); late < 0 {
			t.Errorf("%q is there %v before it is due", m.Body, -late)
		}
	}
}

// What 5.3.3 answers to a timer that it does not take: nothing is stored, and it says
// nothing of the broker.
func TestBrokerRefusesTimers(t *testing.T) {
	s := newSending(t)
	refused := func(at time.Time, status string, why broker.TimerRefusal) {
		t.Helper()
		se := asSendError(t, s.try(s.due(at, status)))
		if se.Status != status || se.Timer != why || se.Outcome != message.OutcomeRetryable {
			t.Errorf("answered %+v, want %s", se, status)
		}
		must(t, s.try(wireTestMessage(s.topic, "goes on")))
	}
	const days = 24 * time.Hour
	refused(time.Now().Add(3*days+time.Hour), "TIMER_ILLEGAL", broker.TimerRefused)
	b := realBackend{s.Cluster}
	heal := b.configure(t, "timerCongestNumEachSlot", "-1", "2147483647")
	refused(time.Now().Add(days), "TIMER_FLOW_CONTROL", broker.TimerBusy)
	heal()
	heal = b.configure(t, "timerWheelEnable", "false", "true")
	refused(time.Now().Add(time.Minute), "TIMER_DISABLED", broker.TimerRefused)
	if ahead, why := s.config().TimerAhead(); ahead != 0 || why == "" {
		t.Errorf("without a timer it is told to take %v ahead: %q", ahead, why)
	}
	heal()
	if ahead, why := s.config().TimerAhead(); ahead != 3*days-timerMargin {
		t.Errorf("it is told to take %v ahead, want 3 days but %v: %q", ahead, timerMargin, why)
	}
	if failing := s.producer.Failing(); len(failing) > 0 {
		t.Errorf("a timer that is refused opens the breaker of %v", failing)
	}
}

// config is what the broker says of itself.
func (s *sending) config() BrokerConfig {
	s.t.Helper()
	i, err := NewInspector(ConsumerOptions{NameServers: s.NameServerAddrs()})
	must(s.t, err)
	defer i.Close()
	all, err := i.Brokers(s.t.Context())
	must(s.t, err)
	return all[0]
}
