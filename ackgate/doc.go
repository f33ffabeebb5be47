// Package ackgate takes deliveries from a broker to the application's handler,
// and is the one place that decides whether a message is acked.
//
// # Promise
//
// A message is acked only after one of these, and on no other path:
//
//	handled      the handler answered a whole 200, or the application acked the
//	             delivery by its ID
//	repeat       the dedupe store has it done, same key, same content
//	sent_back    the broker confirmed that it holds it for another delivery
//	dead_letter  the broker confirmed that it holds it as a dead letter
//
// Everything else holds it: a failed call, a handler that cannot be reached, a
// store that fails, a broker that refuses to take it back, a panic, a shutdown.
// Holding means that the broker's callback does not return. That is not
// politeness: the only answers a client library offers besides success are a
// retry that it loses when the broker refuses it, and a zero value that acks.
//
// # The way of a delivery
//
// A turn of a held message is: begin a mark in the dedupe store, call the
// handler, write done (or release the mark), ack. Of a handler whose calls take less
// than 20 ms and do not fail, as many marks as it has calls are begun ahead of their
// slot, and wait there for a second at most (slots.go). A kill costs those an attempt,
// too, so there are none where a message has but one. What fails waits and has another
// turn: shortly in place, and when the waits grow, by a confirmed send-back. Attempts
// are counted in the mark, which is written before the call, so that a message that
// kills the application is found out.
//
//	process dies              after restart
//	handler answered 200,     delivered again, same Idempotency-Key
//	  not recorded
//	done, broker not acked    redelivered, acked at once, handler not called
//
// In order (Options.Ordered), all waits are in place: sent back, a message would lose
// its place. Only a dead letter is sent back; after the last attempt it becomes one,
// or goes on blocking its ordering key, as configured. Gate.Blocked tells.
//
// # Leases
//
// A handler that answers 202 has leased the message: it is held until the
// application says by the delivery's ID what became of it (Leases: Ack, Nack,
// Extend), or the lease ends. The dedupe mark is held as long. An ack is written
// to the store before it is answered. A lease that ends is sent back, at the cost
// of no attempt; a late ack counts until another delivery of the message begins.
// Of a queue at most MaxHeld messages are leased.
//
// A gate without a handler has its messages pulled (Leases.Receive): each is begun
// when it is handed over, and leased. A lease that ends is then a failed attempt,
// as a timeout is to a handler.
//
// Leases are in memory. After a crash nothing of them was acked, and their
// messages come again when their marks have ended; after a stop they come at once.
//
// A 200 that comes after the timeout counts until the next call of its message
// begins (overhear.go), if not a byte of it came before. An ack by ID counts also
// then.
//
// # Concurrency
//
// A Gate serves one subscription. Run blocks; deliveries come on the
// consumer's goroutines and the gate has none of its own that outlives one.
// Held messages do not take part in the limit of handler calls, and those that wait,
// or are leased, not in the consumer's concurrency (message.Delivery.Park): as many
// as the consumer has in hand of a queue may wait while others are called for.
package ackgate
