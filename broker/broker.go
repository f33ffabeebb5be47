package broker

import (
	"context"
	"time"

	"github.com/remora-mq/remora/message"
)

// Producer sends messages to the broker. Methods may be called from many
// goroutines.
type Producer interface {
	// Send makes one attempt to store msgs: all of one topic, and either all of
	// one ordering key or none with any. Messages of one ordering key go to one
	// queue, the same one as long as the topic's queues do not change.
	//
	// It returns nil only when the broker answered SEND_OK for all of them; the
	// confirmations are then in the order of msgs. Every other end is a
	// *SendError; OutcomeOf tells what is known of it. One status stands for the
	// whole batch: the broker stores all of it or none.
	//
	// Send returns soon after ctx is done, and never sends once ctx is done
	// before it began. It does not change msgs and keeps no reference to them.
	Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error)

	// Close waits for running calls of Send and releases connections.
	Close() error
}

// Prober is what a Producer is, too, that has more than one broker behind it and
// keeps messages from those that fail. Methods may be called from many
// goroutines.
type Prober interface {
	// Probe reports whether a broker of the topic is to be probed: a single
	// message that is sent now may do that, a batch goes elsewhere.
	Probe(topic string) bool
	// Failing names, in order, the brokers that have answered no SEND_OK since
	// they failed, and that messages are meant for.
	Failing() []string
}

// Locator is what a Producer is, too, that has to find a topic's brokers before it
// can send. Methods may be called from many goroutines.
type Locator interface {
	// Locate looks for them, for a moment, and sends nothing. What it has not found
	// Send looks for.
	Locate(ctx context.Context, topic string)
}

// Binder is what a Producer is, too, whose topics have queues that the caller may
// bind ordering keys to. Methods may be called from many goroutines.
type Binder interface {
	// Queues names the queues of a topic that may be sent to, in an order that is
	// the same for everybody; none: they are not known now.
	Queues(ctx context.Context, topic string) []string
	// SendTo is Send to one queue: of messages that all have ordering keys, of one
	// or of several. It sends nothing before an earlier call for the queue, which
	// was given up and may send yet, is over.
	SendTo(ctx context.Context, queue string, msgs []*message.Message) ([]message.Confirmation, error)
	// Instead names a queue, of a broker that does not fail, for the messages of
	// one that cannot be sent to; "": there is none, or a call for that one was
	// given up and may send yet.
	Instead(topic, queue string) string
	// Serves reports whether messages for a queue may be sent: it is there, and its
	// broker does not fail.
	Serves(topic, queue string) bool
}

// Receiver handles one delivery. It returns nil only when the message may be
// acked: its handler answered 200, or SendBack gave it to the broker. On any
// error nothing is acked and the broker delivers again; a Receiver returns an
// error only when its context is done, and else keeps holding the delivery.
type Receiver func(ctx context.Context, d *message.Delivery) error

// Consumer delivers the messages of one subscription.
//
// Of an ordered one, a message is delivered only after the receiver returned nil for
// the one before it of the same queue and ordering key, at whatever consumer of the
// group that was; messages without a key are in order among themselves. Messages of
// other keys pass those that wait, within what the backend holds of a queue. A queue
// that goes to another consumer of the group does so when nothing of it is at the
// receiver any more: the context of those deliveries is done before that of Consume.
// What comes again after a crash comes in order, from the oldest that was not acked.
// What was sent back has lost its place.
type Consumer interface {
	// Consume joins the group and calls receive, from up to the subscription's
	// Concurrency goroutines and one for each delivery that was parked, until ctx
	// is done. Then it fetches no more, waits
	// for the running calls to return (their context is done too), pushes the
	// broker the progress made, leaves the group and returns nil. It retries
	// whatever keeps it from starting, and returns an error only for a
	// subscription that can never work. It is called once.
	Consume(ctx context.Context, receive Receiver) error

	// SendBack asks the broker to take d into its own retry custody: redelivered
	// after about delay, or dead-lettered for the group when deadLetter is set.
	// nil means the broker confirmed it; only then may d be acked. After an
	// error the broker may still have made a copy.
	SendBack(ctx context.Context, d *message.Delivery, back SendBack) error
}

// SendBack says what the broker shall do with a message that it takes back.
type SendBack struct {
	Delay      time.Duration // rounded up to what the broker offers
	DeadLetter bool          // to the group's dead letters instead, now
}

// Subscription is what a Consumer consumes.
type Subscription struct {
	Name        string
	Topic       string
	Group       string
	Tags        []string // any of them; empty: all
	SQL         string   // SQL92 filter instead of Tags
	Ordered     bool
	Concurrency int // deliveries at a time, parked ones apart
	From        From
	// Prefetch is how many bytes of bodies shall wait here, fetched ahead of the
	// receiver: a backend that fetches ahead stops near that; 0: as it likes.
	Prefetch int64

	// Starts is told where the group begins, each time that a Consumer has joined and
	// before its first delivery; not where the broker does not tell. nil: nobody asks.
	Starts func(Start)
	// Jumps is told when the broker had nothing at the group's place in a queue, and
	// moved it: messages may be passed over, or come again. nil: nobody asks.
	Jumps func(Jump)
	// Joins is told why the group cannot be joined, each time that it was tried, and
	// nil when it has been. nil: nobody asks.
	Joins func(err error)
}

// Jump is a place that the broker did not have: what was there was deleted before
// it was consumed, or the broker has lost the end of its queue.
type Jump struct {
	Topic string // the subscription's, or that of its group's retries
	Queue string
	From  int64 // the offset that was asked for
}

// From says where a group that has no progress yet starts. The zero value is
// the first message: starting at the end skips what is there.
type From struct {
	Latest bool
	Time   time.Time
}
