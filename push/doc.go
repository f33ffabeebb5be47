// Package push calls the application's handler over HTTP: one POST a call, and
// an Answer that says what the handler made of it.
//
// It promises that an Answer is Done only when a whole response with an acking
// status was read; that one Deliver is at most one request that the handler
// can have seen; and that nothing from a message becomes a header of its own
// or ends a header. It follows no redirect and uses no proxy.
//
// Of fasthttp only the parser of answers is used, for all but the commonest of them
// (quickOK). Its client is not: it decides on its own when to send again
// (HostClient.Do, client.go:1497), cannot be cancelled, and does not tell a
// connection that was closed while idle from a handler that died while it worked. An
// answer that comes late is told where the caller asks for it (Answer.Late); else the
// connection is closed when the call's time is over, and the message is delivered
// again under the same Idempotency-Key. A handler that needs longer answers 202, which
// leases the message to it, or acks by the ID of the call, also late.
//
// A Client may be used from many goroutines, and owns none.
package push
