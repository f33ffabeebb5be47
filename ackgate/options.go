package ackgate

import (
	"time"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
)

// Options are the settings of one subscription.
type Options struct {
	// Subscription names it in metrics and logs.
	Subscription string
	// Scope of its dedupe keys: cluster, topic and group, and the instance for
	// broadcast.
	Scope string
	// Key says what repeats are recognised by; zero: the message ID.
	Key KeyRule
	// Store names the dedupe store in metrics; "": off.
	Store string
	// Notes keep which messages were handled; nil: nobody does.
	Notes Notes
	// Pass calls the handler without a look-up while the store is unavailable;
	// false: the message is held until it answers.
	Pass bool
	// Died is told why a message becomes a dead letter, and after how many attempts,
	// before the broker is asked to make it one. It must not block. nil: nobody is.
	Died func(d *message.Delivery, cause string, attempts int)
	// Concurrency bounds handler calls at a time; 0: 16.
	Concurrency int
	// Timeout of one handler call; 0: 30 s.
	Timeout time.Duration
	// MaxAttempts makes a dead letter of a message whose handler failed so
	// often; 0: 16.
	MaxAttempts int
	// Ordered says that the consumer delivers the messages of an ordering key one
	// after the other. None is then sent back to be retried: it would lose its place.
	Ordered bool
	// Block goes on with a message of an ordered subscription after MaxAttempts, and
	// its ordering key waits; false: it becomes a dead letter, and the key goes on
	// without it.
	Block bool
	// Retry is the wait after a failed attempt; zero: 1 s, doubling up to 2 h.
	Retry backoff.Policy
	// Probe is the wait between calls of a handler that is unreachable, or of which
	// most calls fail, and of a store that fails; zero: 100 ms, doubling up to 5 s.
	Probe backoff.Policy
	// InPlace bounds the sum of the waits of one delivery before it is sent
	// back; 0: 10 s, at most MaxHold. Of an ordered subscription it does not count.
	InPlace time.Duration
	// MaxHold bounds one wait that the handler asked for, and the hold of a leased
	// message with all its extensions; 0: 10 min.
	MaxHold time.Duration
	// MaxHeld is how many messages of a queue may be leased; the next one is not
	// handed over before one of them is back. 0: 16.
	MaxHeld int
	// Brake holds up the calls of the subscription; nil: nothing does.
	Brake *Brake
	// Grace is how long running calls may go on when Run's context has ended;
	// 0: Timeout, negative: not at all.
	Grace time.Duration
}

func (o Options) withDefaults() Options {
	setDefault(&o.Store, "off")
	setDefault(&o.Concurrency, 16)
	setDefault(&o.Timeout, 30*time.Second)
	setDefault(&o.MaxAttempts, 16)
	setDefault(&o.Retry, backoff.Policy{Initial: time.Second, Max: 2 * time.Hour})
	setDefault(&o.Probe, backoff.Policy{Initial: 100 * time.Millisecond, Max: 5 * time.Second})
	setDefault(&o.MaxHold, 10*time.Minute)
	setDefault(&o.MaxHeld, 16)
	setDefault(&o.InPlace, 10*time.Second)
	setDefault(&o.Grace, o.Timeout)
	o.InPlace = min(o.InPlace, o.MaxHold)
	return o
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

const (
	// leaseMargin is how much longer than the timeout a mark is held: the
	// handler has long been cut off when another delivery may begin.
	leaseMargin = 30 * time.Second
	// markMargin is how much longer than a lease its mark is held, so that its end
	// is written down before another delivery may begin.
	markMargin = 5 * time.Second
	// settleTimeout bounds what follows a call: also when the context is done,
	// its result is written down.
	settleTimeout = 5 * time.Second
	// settleAgain is the longest wait between two tries within it.
	settleAgain = 250 * time.Millisecond
	// askAgain is the shortest time between two send-backs of one message. Each
	// one that the broker stored but did not confirm is a copy.
	askAgain = time.Minute
	// askSoon is the shortest time between two send-backs of one message where the
	// broker had no time for the first, and until somebody else's probe is over.
	askSoon = time.Second
	// sendBackTimeout bounds one send-back.
	sendBackTimeout = 15 * time.Second
	// askHolder is the longest time between two looks at another's mark.
	askHolder = 5 * time.Second
	// minLease keeps a lease from ending before anybody can use it.
	minLease = time.Second
	// minWait keeps a handler that asks for no wait from being called in a loop.
	minWait = time.Second
)
