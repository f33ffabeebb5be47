// Package forwarder takes messages from the spool to the broker and does not
// give up: until SEND_OK, or until the broker refuses a message that it was
// sent alone.
//
// Each topic has a lane, one goroutine that leases batches and starts attempts;
// each attempt is a goroutine that ends its leases in one of four ways:
//
//	confirmed          Confirm
//	retryable, unknown Retry, under the same message ID, after a jittered backoff
//	permanent, alone   Bury: a dead letter
//	permanent, a batch sent again in halves, in order
//
// A lane that fails slows down by itself: one attempt at a time, smaller
// batches, growing waits; the others go on. Where only one of several brokers
// fails, the lane goes on, with single messages when that one is to be probed.
// Where its topic is, a lane asks before it leases anything: who is kept waiting for
// that has no slot. Batches of all lanes wait in one line, for one of the slots; lanes
// get these by weight. When the broker was away for all, there is one slot at first,
// and one more with each time that the broker takes to answer, over all lanes that do
// not fail.
// A topic that is paused is the spool's affair, too: it leases nothing of it, and right
// before an attempt Current gives back what was leased before.
// Order per ordering key is the spool's: it leases no message while an earlier
// one of its key is leased or waits for its retry.
package forwarder
