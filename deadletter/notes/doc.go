// Package notes is what a sidecar knows of its groups' dead letters beside the
// broker: why they died, and which of them an operator is done with. The broker's
// topic of dead letters is a log, from which nothing can be taken.
//
// # Promise
//
// When [Store.Settle] returns nil, what it was given is on stable storage: it is
// never told as waiting again. A crash before that leaves any part of it. Reasons
// are written with the next commit, and a crash may lose the last ones: a dead
// letter without one has an unknown cause. Nothing here is needed to keep a message.
//
// A queue's dead letters are settled up to a low offset, and beyond it where a bit
// says so: a block of bits is 4,096 offsets, and goes when the low offset has
// passed it. Of reasons the newest [MaxReasons] are kept.
//
// # Assumes
//
// Offsets of a queue begin anew only when its topic was deleted. That is seen by
// the next offset being lower than it was: then all of the queue waits again.
// What a disk destroys, and what lies under a key that the ring has not, is
// counted, and waits again too.
//
// # Concurrency
//
// Methods may be called from many goroutines.
package notes
