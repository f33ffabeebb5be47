// Package httpapi is the data listener: the HTTP that the application beside
// us speaks to hand over messages and to ask what became of them.
//
// # Promises
//
// A 2xx to a publish is sent only after Spool.Append returned nil, which is
// after the sync. Every refusal is a problem document that says whether the
// message is stored and what to change; the codes are internal/problem's table.
// Every option of a publish is honoured or refused, never ignored in silence.
//
// # The door
//
// fasthttp recycles its buffers after a handler returns, so a request is copied
// at the door (receive, body) and nothing of fasthttp leaves handle.go, door.go,
// body.go and what they read it with (fields.go, target.go). Its body streaming is
// on: the handler sees a request when its header and one byte of its body are there,
// and refuses before it has read the body, against the byte budget and the limits. A
// client that waits for 100 Continue is refused before it sends any of it.
//
// The copies of header and body are made anew for each request, since the spool
// keeps them. The request around them, with the draft and the bytes of the answer, is
// given to another connection when the answer is written. The copies are let go of
// before: as soon as the budget does not count a body any more, nothing here refers to
// it, however long its client waits for the answer or takes to read it.
//
// fasthttp 1.73 serves a request with both Content-Length and chunked framing
// and takes what follows for another request. fields.parse reads the raw header
// again, strictly; whatever is ambiguous is answered once, unread, and its
// connection closed. So is a request whose body was not read to its end, or
// came in chunks, whose trailer fasthttp reads leniently.
//
// # Concurrency
//
// One goroutine serves a connection (conn.go) and owns it; Shutdown waits for
// all of them. A connection without a request has none and gives its buffers back,
// so that thousands of idle ones cost little. Methods of Server may be called from
// any goroutine.
package httpapi
