// Package rocketmq is the backend for Apache RocketMQ 4.x and 5.x, and the only
// importer of rocketmq-client-go. What that client does wrong is neutralised
// here; file:line in comments are of its v2.1.2.
//
// # Producing
//
// A [Producer] makes one attempt a call: the client's own retries are off, for
// they ignore the context and can store a message several times. A message is
// confirmed only by SEND_OK with an offset message ID; function outcome is the
// one place that judges. Each attempt is watched: Send returns at its deadline
// even when the client is stuck in a lock, a dial or a write. A broker that fails
// has its breaker open: it gets one message at a time until SEND_OK.
//
// # Consuming
//
// A [Consumer] acks by ConsumeSuccess, which is returned in one place (ack.go)
// and only when the receiver returned nil. No other result is ever returned:
// ConsumeRetryLater loses the message when the broker refuses to take it back
// (push_consumer.go:915-927), and the zero value acks. What must not be acked is
// held, and when the consumer stops the callback's goroutine ends without a
// result. Retry custody is a send-back of our own whose answer is read. Other keys take
// another client: what is at the receiver outlives the former one (receivers.go).
//
// PushConsumer was chosen over PullConsumer, which acks whole pulled batches,
// sends an SQL filter as a tag filter (pull_consumer.go:742-743), empties topics
// of retried messages (:329), does not sign its calls to name servers, and does
// not bound what it fetches.
//
// Of an ordered subscription, messages of an ordering key take turns (line.go), and
// the library's strategy is replaced by one that waits for the brokers' locks of
// queues (claims.go, locks.go). Its orderly mode is not used.
//
// # Half messages
//
// [Halves] stores half messages and ends them by calls whose answers are read, and
// keeps a connection to each of their brokers for what these ask (link.go). The
// library's transaction producer is not used.
//
// # Assumptions
//
// Topics exist before they are consumed. The broker's messageDelayLevel is the
// default one; an [Inspector] tells where it is not, and what else of a broker's
// configuration takes something from SEND_OK. Time zones do not matter.
//
// # Process-wide state
//
// The client keeps its logger and its panic handler in globals. The first
// constructor called sets them, once, for the whole process; the logger given
// to that call gets the client's log lines.
//
// All exported methods may be called from many goroutines.
package rocketmq
