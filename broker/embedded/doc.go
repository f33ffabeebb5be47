// Package embedded is a broker inside the process, for demo, laptops and
// tests. It imitates RocketMQ: topics with queues, groups with one offset a
// queue, retry and dead-letter topics, answers that are neither yes nor no.
//
// # Promise
//
// Send returns nil, and SendBack returns nil, only after what they stored was
// synced; a batch is stored whole or not at all. A group's offset in a queue is
// the lowest one that is not acked. It is written behind, at most 50 ms late:
// a crash delivers again, and never skips. Delays are kept on disk.
//
// Messages are removed by age and by total size, oldest first, but only those
// that every group which ever consumed their topic has passed. RocketMQ's
// retention removes by age whoever still waits; here a forgotten group keeps
// its topic for ever instead. A topic without groups (dead letters, mostly) is
// cut by age and size alone.
//
// # What it does not do
//
// One process, one copy, clustering only: no SQL filters, no transactions.
// Consumers of one group have to want the same topic and tags, both ordered or not,
// and share messages rather than queues, ordering keys of an ordered one. The broker
// never counts a message out into the dead letters: SendBack says when.
//
// # Assumes
//
// What internal/kv assumes. The directory is the broker's own: its size is not part of
// a spool's limit.
//
// # Concurrency
//
// All methods may be called from any goroutine. The broker owns two: one moves
// what was delayed, one removes what is old. Close waits for both and for
// running calls; a Consume that runs on idles until its context is done.
package embedded
