package embedded

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// Point is where a Fault strikes.
type Point uint8

// The points of a message's way at which a broker fails its clients.
const (
	AtSend     Point = iota // a call of Producer.Send
	AtSendBack              // a call of Consumer.SendBack
	AtAck                   // an ack after a delivery: it is lost, and the message delivered again
)

// Fault is something that goes wrong a number of times.
type Fault struct {
	At    Point
	Times int    // calls that it strikes; 0: one
	Topic string // only calls that concern this topic; "": any

	// Status is the broker's answer, as TIMEOUT, SYSTEM_BUSY or
	// FLUSH_DISK_TIMEOUT; see broker.SendError. With a status of flush or slave
	// the message is stored, with any other it is not.
	Status string
	// AnswerLost stores the message and then answers TIMEOUT, whatever Status is.
	AnswerLost bool
	// Slow is how long the answer takes; the caller's context may end first,
	// and then it is TIMEOUT. Without Status and AnswerLost the answer is good.
	Slow time.Duration
}

// verdict is what a status means.
type verdict struct {
	outcome message.Outcome
	stored  bool
	parked  bool
}

// verdicts are the statuses whose outcome is not unknown, as broker/rocketmq
// judges them, and those that come after the message was stored.
var verdicts = map[string]verdict{
	statusFlushDisk:        {stored: true},
	statusFlushSlave:       {stored: true},
	statusNoSlave:          {stored: true},
	statusIllegal:          {outcome: message.OutcomePermanent},
	statusBadParameter:     {outcome: message.OutcomePermanent},
	statusNoPermission:     {outcome: message.OutcomeRetryable, parked: true},
	statusNoTopic:          {outcome: message.OutcomeRetryable, parked: true},
	statusBusy:             {outcome: message.OutcomeRetryable},
	statusFlowControl:      {outcome: message.OutcomeRetryable},
	statusServiceDown:      {outcome: message.OutcomeRetryable},
	statusConnect:          {outcome: message.OutcomeRetryable},
	statusNoRoute:          {outcome: message.OutcomeRetryable},
	statusClosed:           {outcome: message.OutcomeRetryable},
	"NOT_LEADER_FOR_QUEUE": {outcome: message.OutcomeRetryable},
	"GO_AWAY":              {outcome: message.OutcomeRetryable},
}

// Words for Status, RocketMQ's where it has one.
const (
	statusFlushDisk    = "FLUSH_DISK_TIMEOUT"
	statusFlushSlave   = "FLUSH_SLAVE_TIMEOUT"
	statusNoSlave      = "SLAVE_NOT_AVAILABLE"
	statusIllegal      = "MESSAGE_ILLEGAL"
	statusBadParameter = "INVALID_PARAMETER"
	statusNoPermission = "NO_PERMISSION"
	statusNoTopic      = "TOPIC_NOT_EXIST"
	statusBusy         = "SYSTEM_BUSY"
	statusFlowControl  = "FLOW_CONTROL"
	statusServiceDown  = "SERVICE_NOT_AVAILABLE"
	statusSystem       = "SYSTEM_ERROR"
	statusTimeout      = "TIMEOUT"
	statusConnect      = "CONNECT"
	statusNoRoute      = "NO_ROUTE"
	statusClosed       = "CLOSED"
)

// failure is the error of a status; one that is not listed is unknown.
func failure(status string, err error) *broker.SendError {
	v := verdicts[status]
	return &broker.SendError{Outcome: v.outcome, Status: status, Stored: v.stored, Parked: v.parked, Err: err}
}

var (
	errInjected = errors.New("injected fault")
	errDown     = errors.New("broker is not available")
)

// Inject adds a fault. Faults of one point strike in the order in which they
// were added, one a call.
func (b *Broker) Inject(f Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f.Times = max(f.Times, 1)
	b.faults = append(b.faults, f)
}

// Heal takes all injected faults back that have not struck. An outage goes on.
func (b *Broker) Heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = nil
}

// SetAvailable switches an outage on and off. During one, Send and SendBack
// fail with CONNECT and nothing is delivered; deliveries under way go on.
func (b *Broker) SetAvailable(available bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = !available
	for _, g := range b.catalog.groups {
		g.notify()
	}
}

// strike returns the fault that a call meets.
func (b *Broker) strike(at Point, topic string) Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down && at != AtAck {
		return Fault{At: at, Times: 1, Status: statusConnect}
	}
	i := slices.IndexFunc(b.faults, func(f Fault) bool {
		return f.At == at && (f.Topic == "" || f.Topic == topic)
	})
	if i < 0 {
		return Fault{}
	}
	f := b.faults[i]
	if b.faults[i].Times--; b.faults[i].Times == 0 {
		b.faults = slices.Delete(b.faults, i, i+1)
	}
	return f
}

// struck reports whether there is a fault at all: Inject never leaves Times 0.
func (f Fault) struck() bool { return f.Times > 0 }

// stores reports whether the broker keeps the message in spite of the fault.
func (f Fault) stores() bool {
	return f.Status == "" || f.AnswerLost || verdicts[f.Status].stored
}

// answer is what the caller is told after the time that it takes; nil: OK.
func (f Fault) answer(ctx context.Context) *broker.SendError {
	if !f.wait(ctx) {
		return failure(statusTimeout, context.Cause(ctx))
	}
	switch {
	case f.AnswerLost:
		return failure(statusTimeout, errInjected)
	case f.Status == statusConnect:
		return failure(statusConnect, errDown)
	case f.Status != "":
		return failure(f.Status, errInjected)
	}
	return nil
}

func (f Fault) wait(ctx context.Context) bool {
	if f.Slow <= 0 {
		return true
	}
	timer := time.NewTimer(f.Slow)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
