package broker

import (
	"errors"
	"fmt"

	"github.com/remora-mq/remora/message"
)

// SendError is why an attempt was not confirmed.
type SendError struct {
	// Outcome is unknown, retryable or permanent. Permanent speaks of the batch
	// as sent: for a message it holds only when it was sent alone.
	Outcome message.Outcome
	// Status is the broker's word for it, as FLUSH_DISK_TIMEOUT or
	// MESSAGE_ILLEGAL, or ours: TIMEOUT, CONNECT, NO_ROUTE, CLOSED.
	Status string
	// Stored: the broker said that it has the message, without the guarantee of
	// SEND_OK (flush and slave statuses). Another attempt makes a copy.
	Stored bool
	// Parked: an operator has to act (no permission, no such topic). Trying
	// again soon is no use, and giving up is wrong.
	Parked bool
	// Elsewhere: another broker takes messages of the topic, so only what is
	// bound to the one that failed has to wait.
	Elsewhere bool
	// Probe: nothing was sent. The broker is probed with one message at a time,
	// and this was more than one, or not the time.
	Probe bool
	// Gone: nothing was sent. The topic has not got this queue any more, and its
	// broker takes the topic: what is bound to the queue has to go elsewhere.
	Gone bool
	// Timer: nothing was stored, because of when the message is due: it says nothing of
	// other messages. The outcome is retryable.
	Timer TimerRefusal
	// Queue is where it was tried, as "broker-a/3", or "broker-a" when it did not
	// come so far; empty when that is not known.
	Queue string
	Err   error
}

// TimerRefusal is why a broker does not take a message that is not due.
type TimerRefusal uint8

// Refusals of a timer.
const (
	TimerTaken   TimerRefusal = iota // none
	TimerBusy                        // it has too many for that time
	TimerRefused                     // it has no timer, or none for so long
)

func (e *SendError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("send: %s (%s)", e.Status, e.Outcome)
	}
	return fmt.Sprintf("send: %s (%s): %v", e.Status, e.Outcome, e.Err)
}

func (e *SendError) Unwrap() error { return e.Err }

// OutcomeOf tells what an error of Send means; nil is confirmed, and an error
// that is no *SendError is unknown.
func OutcomeOf(err error) message.Outcome {
	if err == nil {
		return message.OutcomeConfirmed
	}
	if se := (*SendError)(nil); errors.As(err, &se) {
		return se.Outcome
	}
	return message.OutcomeUnknown
}

// ErrBusy is wrapped in the error of a SendBack that the broker had no time for: it
// has no copy, and may soon have time.
var ErrBusy = errors.New("the broker is busy")

// ErrNotAsked is wrapped in the error of a SendBack that did not ask the broker, for it
// refused a moment ago.
var ErrNotAsked = errors.New("the broker is not asked again so soon")

// ErrClosed is wrapped in a *SendError with a retryable outcome by a Producer
// that was closed.
var ErrClosed = errors.New("producer is closed")
