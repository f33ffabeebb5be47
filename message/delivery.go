package message

import "time"

// Delivery is a message on its way from a broker to a handler: one attempt of
// one group, under the broker's lease.
type Delivery struct {
	Message

	Subscription string
	Group        string
	// Identity is what repeats are recognised by: our message ID when a sidecar
	// produced it (the origin property says so), else the offset message ID of
	// its first appearance at the broker.
	Identity        string
	BrokerMessageID string // offset message ID of this copy
	Queue           string // broker/queue
	Offset          int64
	Attempt         int // from 1; counts redeliveries where the broker tells
	BornAt          time.Time

	// Handle is the backend's own, for sending this delivery back.
	Handle any
	// Park says that the delivery will be held for long: it does not count in the
	// subscription's concurrency any more, and another one may take its place.
	// nil: it counts for as long as it is held. It may be called more than once.
	Park func()
}
