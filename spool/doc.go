// Package spool is the durable local store of every message that was accepted
// and is not yet settled. It is the product: everything else may fail and be
// retried, this may not.
//
// # Promise
//
// Append returns nil only after the messages, their index entries and the
// ledger's counters are on stable storage, in one synced transaction. From then
// on each message is held, confirmed, or ended by a recorded act. Only the
// forwarder's confirmations are lazy: a lost one is a repeat under the same
// message ID, never a loss.
//
//	the process dies           the client saw   on disk    after restart
//	before the commit          no answer        none       nothing
//	written, not synced        no answer        maybe      either; the dedupe key decides on retry
//	synced, not answered       no answer        stored     pending; the retry gets the same receipt
//	answered, not forwarded    202              stored     pending
//	sent, answer not read      202              stored     pending: sent again, same ID
//	confirmed, not recorded    202              stored     pending: sent again, same ID
//
// # Shape
//
// The messages of one commit and topic are one block: a Badger entry of
// records, each with its own CRC32C and sequence. Settling sets a bit in the
// bitmap of its 4,096 sequences; the block is deleted, in the same transaction,
// when all of it is settled. So every sequence up to the high water is a
// readable record or a set bit; anything else is lost, and Audit names it.
// A delayed message has an entry of its own, and moves into a block when it is due.
// One with a TTL that is not confirmed in time becomes a dead letter.
// keyspace.go lists the entries, commit.go writes them, docs/spool.md draws them.
//
// # Concurrency
//
// All durable state changes on one goroutine, the committer of internal/kv,
// which calls (*writer).Write. Methods of Spool may be called from any number of
// goroutines. s.mu guards all memory; it is never held during I/O.
package spool
