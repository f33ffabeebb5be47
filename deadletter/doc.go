// Package deadletter is what an operator does with many dead letters: it counts
// them by cause, redrives them, and discards them.
//
// A redrive is careful, because the cause may still be there. It begins with a
// canary, a few messages, and waits for what becomes of them; it goes on at a
// modest rate; and it stops as soon as more than a tenth of those whose outcome
// is known are dead letters again. It has at most MaxOpen messages without an
// outcome, so that an outage makes it wait and not pour.
//
// The spool makes each redrive and each discard durable before it is counted
// here. A run itself is in memory: when the process ends, what was redriven
// stays so, and the rest stays dead letters.
//
// A Run is used by one goroutine; Progress may be read by others.
package deadletter
