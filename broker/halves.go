package broker

import (
	"context"
	"errors"
	"time"

	"github.com/remora-mq/remora/message"
)

// Halves keep half messages at the broker: stored there, and seen by no consumer
// before they are committed. The broker does not guard them: one that is committed
// twice is delivered twice, and one that is committed after it was rolled back is
// delivered, too. That is for the caller to do. Methods may be called from many
// goroutines.
type Halves interface {
	// Prepare makes one attempt to store m as a half message. It returns nil only
	// when the broker answered SEND_OK, and asks here for its decision should that
	// not come; every other end is a *SendError.
	Prepare(ctx context.Context, m *message.Message, h Half) (message.HalfPlace, error)
	// End commits a half message, or rolls it back; nil: the broker said that it did.
	// ErrNoHalf: it has none there. After another error it may have done it.
	End(ctx context.Context, p message.HalfPlace, commit bool) error
	HalfFinder
	// Expect has the broker of a half message, which maybe a former process prepared,
	// ask here for its decision. Where only the topic is known, each broker that has it
	// is one that may ask.
	Expect(p message.HalfPlace)
	// Serve has check called for all that brokers ask, from several goroutines, but of a
	// transaction one call at a time of each broker; it returns when ctx is done and no
	// call runs any more. It is called once.
	Serve(ctx context.Context, check func(ctx context.Context, c HalfCheck)) error
	// Unreached names the brokers that cannot ask here now, and should.
	Unreached() []string
	// Close waits for running calls and closes all connections.
	Close() error
}

// HalfFinder looks at a broker for what came of a half message.
type HalfFinder interface {
	// Committed reports whether it is known that consumers of the topic get the message,
	// as far as the broker's index of messages has come. since is before it was prepared.
	// Where it is not permitted to look, nothing is known.
	Committed(ctx context.Context, p message.HalfPlace, since time.Time) (bool, error)
	// Dropped reports whether the broker will not ask for a half message any more: it
	// has asked too often, or waited too long. That is as far as its index of messages
	// has come. since is before it was prepared. ErrMayNotLook: it is not permitted.
	Dropped(ctx context.Context, p message.HalfPlace, h Half, since time.Time) (bool, error)
	// There tells which half message of its message lies at a place; the zero Half: none
	// does. A broker that has lost the end of its log has nothing there, or another
	// message, be it another half message, also one that has replaced the lost one: it
	// would end that without a question. ErrMayNotLook: it is not permitted.
	There(ctx context.Context, p message.HalfPlace) (Half, error)
}

// Half names a half message.
type Half struct {
	Transaction string
	Number      uint64 // of those of the transaction: from 1
}

// HalfCheck is a broker's question for the decision of a half message.
type HalfCheck struct {
	Half

	MessageID message.ID        // zero: it is not one of ours
	Place     message.HalfPlace // where it is now: the broker moves it with each question
	Times     int               // questions so far, this one too; 0: it is not told
}

// ErrNoHalf reports that a broker has no half message where it should be: it is over,
// and so long that the log is gone, or the broker lost it.
var ErrNoHalf = errors.New("the broker has no such half message")

// ErrMayNotLook reports that a broker does not permit to read what it is asked for.
var ErrMayNotLook = errors.New("it is not permitted to look at the broker")
