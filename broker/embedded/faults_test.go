package embedded

import (
	"context"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

func TestSendFaults(t *testing.T) {
	tests := []struct {
		fault  Fault
		status string
		want   message.Outcome
		copies int
		stored bool
		parked bool
	}{
		{Fault{Status: "FLUSH_DISK_TIMEOUT"}, "FLUSH_DISK_TIMEOUT", message.OutcomeUnknown, 1, true, false},
		{Fault{Status: "FLUSH_SLAVE_TIMEOUT"}, "FLUSH_SLAVE_TIMEOUT", message.OutcomeUnknown, 1, true, false},
		{Fault{Status: "SLAVE_NOT_AVAILABLE"}, "SLAVE_NOT_AVAILABLE", message.OutcomeUnknown, 1, true, false},
		{Fault{Status: "SYSTEM_BUSY"}, "SYSTEM_BUSY", message.OutcomeRetryable, 0, false, false},
		{Fault{Status: "SYSTEM_ERROR"}, "SYSTEM_ERROR", message.OutcomeUnknown, 0, false, false},
		{Fault{Status: "CODE_4711"}, "CODE_4711", message.OutcomeUnknown, 0, false, false},
		{Fault{Status: "MESSAGE_ILLEGAL"}, "MESSAGE_ILLEGAL", message.OutcomePermanent, 0, false, false},
		{Fault{Status: "NO_PERMISSION"}, "NO_PERMISSION", message.OutcomeRetryable, 0, false, true},
		{Fault{Status: "TIMEOUT"}, "TIMEOUT", message.OutcomeUnknown, 0, false, false},
		{Fault{AnswerLost: true}, "TIMEOUT", message.OutcomeUnknown, 1, false, false},
		{Fault{Topic: "orders", Status: "SYSTEM_BUSY"}, "SYSTEM_BUSY", message.OutcomeRetryable, 0, false, false},
	}
	b := open(t, Options{})
	p := b.Producer()
	defer p.Close()
	for n, tt := range tests {
		b.Inject(tt.fault)
		_, err := p.Send(t.Context(), msgs(n, n+1))
		se := requireSendError(t, err, tt.want, tt.status)
		if copies, err := b.Copies(msg(n).ID); copies != tt.copies || err != nil {
			t.Errorf("%s: %d copies, %v; want %d", tt.status, copies, err, tt.copies)
		}
		if se.Queue == "" {
			t.Errorf("%s: no queue is named", tt.status)
		}
		if se.Stored != tt.stored || se.Parked != tt.parked {
			t.Errorf("%s: stored %v, parked %v", tt.status, se.Stored, se.Parked)
		}
		send(t, b, msg(1000+n)) // it struck once
	}
}

func TestFaultsStrikeInOrderAndOnlyTheirTopic(t *testing.T) {
	b := open(t, Options{})
	b.Inject(Fault{Topic: "other", Status: "SYSTEM_BUSY"})
	b.Inject(Fault{Times: 2, Status: "FLOW_CONTROL"})
	b.Inject(Fault{Status: "NO_PERMISSION"})
	p := b.Producer()
	defer p.Close()
	for _, want := range []string{"FLOW_CONTROL", "FLOW_CONTROL", "NO_PERMISSION"} {
		_, err := p.Send(t.Context(), msgs(0, 1))
		requireSendError(t, err, message.OutcomeRetryable, want)
	}
	send(t, b, msg(0))
	m := msg(1)
	m.Topic = "other"
	_, err := p.Send(t.Context(), []*message.Message{m})
	requireSendError(t, err, message.OutcomeRetryable, "SYSTEM_BUSY")
}

func TestASlowAnswerEndsWithTheContext(t *testing.T) {
	b := open(t, Options{})
	b.Inject(Fault{Slow: time.Hour})
	b.Inject(Fault{Slow: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	p := b.Producer()
	defer p.Close()
	answered := make(chan error, 1)
	go func() {
		_, err := p.Send(ctx, msgs(0, 1))
		answered <- err
	}()
	eventually(t, b, "it is stored", func(Stats) bool { n, _ := b.Copies(msg(0).ID); return n == 1 })
	cancel()
	requireSendError(t, <-answered, message.OutcomeUnknown, "TIMEOUT")
	send(t, b, msg(1))
}

func TestOutage(t *testing.T) {
	b := open(t, Options{})
	send(t, b, msg(0))
	b.SetAvailable(false)
	r := consume(t, b, sub(), nil)
	r.quiet()
	p := b.Producer()
	defer p.Close()
	_, err := p.Send(t.Context(), msgs(1, 2))
	requireSendError(t, err, message.OutcomeRetryable, "CONNECT")
	b.SetAvailable(true)
	d := r.next()
	b.SetAvailable(false)
	requireSendError(t, r.SendBack(t.Context(), d, broker.SendBack{}), message.OutcomeRetryable, "CONNECT")
	b.SetAvailable(true)
	send(t, b, msg(1))
	r.next()
	r.stop()
}

func TestALostAckDeliversAgain(t *testing.T) {
	b := open(t, Options{})
	b.Inject(Fault{At: AtAck, Times: 2})
	send(t, b, msg(0))
	r := consume(t, b, sub(), nil)
	if seen := r.take(3); seen[msg(0).ID] != 3 {
		t.Errorf("delivered %v", seen)
	}
	r.quiet()
	r.stop()
	if s := b.Stats().Groups["g"]; s.Acked != 1 || s.Delivered != 3 {
		t.Errorf("stats = %+v", s)
	}
}

func TestSendBackFaults(t *testing.T) {
	tests := []struct {
		fault  Fault
		want   message.Outcome
		status string
		copies int64
	}{
		{Fault{Status: "SYSTEM_BUSY"}, message.OutcomeRetryable, "SYSTEM_BUSY", 0},
		{Fault{Status: "FLUSH_SLAVE_TIMEOUT"}, message.OutcomeUnknown, "FLUSH_SLAVE_TIMEOUT", 1},
		{Fault{AnswerLost: true}, message.OutcomeUnknown, "TIMEOUT", 1},
	}
	for _, tt := range tests {
		t.Run(tt.status, func(t *testing.T) {
			b := open(t, Options{})
			send(t, b, msg(0))
			r := consume(t, b, sub(), nil)
			d := r.next()
			r.stop()
			tt.fault.At = AtSendBack
			b.Inject(tt.fault)
			requireSendError(t, r.SendBack(t.Context(), d, broker.SendBack{}), tt.want, tt.status)
			if n := b.Stats().Topics[RetryTopic("g")].Stored; n != tt.copies {
				t.Errorf("%d copies, want %d", n, tt.copies)
			}
		})
	}
}
