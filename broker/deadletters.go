package broker

import (
	"context"
	"errors"
	"time"

	"github.com/remora-mq/remora/message"
)

// DeadLetters are those of one group, in the broker's own topic for them. That
// topic is a log: nothing can be taken out of it, and the broker deletes what has
// become old. Methods may be called from many goroutines.
type DeadLetters interface {
	// Queues names the queues that hold them, in order; none: no message of the
	// group has died yet.
	Queues(ctx context.Context) ([]DeadQueue, error)
	// Read returns up to most dead letters of a queue, from an offset on, and the
	// offset after them: it is beyond what the broker has deleted. None: there are
	// no more. Where the topic may not be read, it makes the topic readable, or
	// fails with ErrUnreadable.
	Read(ctx context.Context, queue string, from int64, most int) ([]DeadLetter, int64, error)
	// Redrive stores a copy for the group alone: under the same identity, as a
	// first attempt. nil: the broker answered SEND_OK. After an error it may have
	// the copy all the same, but for ErrUnsendable.
	Redrive(ctx context.Context, d *DeadLetter) error
	// Pass notes at the broker, for all who look, that an operator is done with
	// what lies before an offset. A broker that no others look at has no such note.
	Pass(ctx context.Context, queue string, offset int64) error
	Close() error
}

// DeadQueue is a queue of dead letters.
type DeadQueue struct {
	Name   string // as "broker-a/0"
	First  int64  // offset of the oldest that is kept
	Next   int64  // offset of the next that will come
	Passed int64  // what Pass noted last; 0: nothing
}

// DeadLetter is a message that a group gave up. Its Attempt is how often it was
// delivered, as far as the broker tells, and its Queue and Offset are its place
// among the dead letters.
type DeadLetter struct {
	message.Delivery

	DiedAt time.Time
	Damage string // why its body is not what was sent; "": it is
}

// ErrUnsendable reports a dead letter that can never be redriven as it is.
var ErrUnsendable = errors.New("it cannot be redriven: discard it, or publish it again from an export")

// ErrUnreadable reports that the topic of the dead letters may not be read, and that
// the caller may not change that.
var ErrUnreadable = errors.New("the dead letters' topic may not be read")
