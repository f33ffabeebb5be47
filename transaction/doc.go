// Package transaction asks applications for the decision of transactions that they
// left open: the check-back.
//
// The spool keeps the transactions, when each is to be checked, and how often that
// was in vain; Checker asks, and tells the spool what came of it.
//
//	200 and COMMIT     committed
//	200 and ROLLBACK   rolled back
//	everything else    unknown: asked again after the interval, in vain so many times
//	                   at most; then what was asked for with the transaction: to keep
//	                   it undecided, which is what is done by default, or a decision
//
// Everything else is every other answer (404, 500, a redirect, an error text with a
// 200), and none: a timeout, a refused or broken connection, an address that is not
// allowed. A decision is never guessed.
//
// At most so many are asked at once, and in a second, however many are due: what is
// late is asked later, and nothing is left out. One host has half of those that are
// asked at once: an application that hangs holds up itself, and no other.
//
// Keeper is for transactions of which a broker has a half message, too: it has it
// stored there, tells the broker what is decided until that is confirmed, and answers
// what the broker asks, from the decision or by asking the application.
package transaction
