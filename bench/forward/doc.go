// Forward measures how fast Remora takes messages from its spool to a real
// RocketMQ, beside an application that sends them by itself with
// rocketmq-client-go, in one run:
//
//	client-go, batches of 64   what that client can do at all: messages without an ID
//	… with our properties      the same, with what lets a consumer tell a repeat and
//	                           a gap, and the broker find a message by its ID
//	client-go, SendSync        what applications do
//	remora drains …            the built sidecar, from a spool that was filled while
//	                           no name server answered: one topic; many topics and
//	                           ordering keys; the same beside a stuck topic that
//	                           holds more than half of the spool
//	remora accepts …           what accepting costs, alone and with forwarding
//
// and at low load, one message at a time in turns: a SendSync, a POST until the
// broker has confirmed it, and a POST with Prefer: wait until its answer.
//
// Both sides send bodies of 1 KiB of random bytes to the same broker, which
// flushes before it confirms, with as many attempts at a time as the sidecar
// makes of one topic. Each drain begins with a spool and a process of its own,
// and its clock when that is ready. It ends when all is confirmed; then the
// broker's queues are asked whether they hold as many, and how many are repeats.
//
// The time to confirm begins when the POST is sent and ends when the sidecar
// counts the confirmation, by the machine's clock.
//
//	make bench-forward MESSAGES=20000 ROUNDS=5
//
// needs Java and Maven, which fetches RocketMQ once, and about 5 KiB of disk a
// message. The sides take turns, round by round; only ratios are judged
// (target.go).
//
// One goroutine runs the rounds; each connection and each attempt has its own
// while it is loaded.
package main
