// Gate measures how fast Remora delivers what waits at a broker to a handler that
// answers at once, beside a bare loop of fasthttp's client that calls the same
// handler, as often at a time, in one run:
//
//	bare fasthttp loop         POSTs of 1 KiB, nothing else
//	remora, no dedupe          the built sidecar, whole, with its embedded broker
//	remora, local dedupe       with two marks a message: before its call, after its 200
//	remora, local, KEYS known  the same where the window holds so many keys already
//	remora, redis always       marks in a redis-server with appendfsync always
//	remora, redis everysec     the same with appendfsync everysec
//
// The messages are put in first, over HTTP, while the subscription is paused; they
// are at the broker, and the sidecar is quiet, when it is resumed. The handler is a
// process of its own, and holds the clock: its rate leaves the first tenth of the
// calls out, and the run fails unless it was called once for each message, whole,
// and each was acked as handled.
//
// At low load, one message at a time, in turns: a bare call over a kept connection,
// and a message posted to the sidecar. Of that, remora_deliver_handled_seconds is
// taken: from the gate's taking the message from the broker to its ack, so the way
// to the handler and back, and all marks, included. The handler's own time is next
// to nothing. What the gate adds is this less a bare call.
//
// Each measurement has a sidecar of its own; the one of many keys goes on in the
// same folder, whose marks are written by Begin and Done of the store before the
// first round. The memory is the most anonymous memory of the sidecar's process
// while it delivers.
//
//	make bench-gate DELIVERIES=40000 ROUNDS=5 KEYS=10000000
//
// needs redis-server, about 5 KiB of disk a message, and 200 bytes a key. All
// processes share the machine, so the bare loop has it to itself and its handler,
// and Remora shares it with its broker, and with Redis. The sides take turns, round
// by round; only ratios are judged (target.go).
package main
