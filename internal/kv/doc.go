// Package kv owns one Badger database and the only goroutine that commits to it.
//
// # Promise
//
// When [Queue.Commit] returns nil, everything its operation wrote is on stable
// storage: Badger's write-ahead log was msynced, and the directory was fsynced
// if an entry in it had changed. Operations that wait at the same time share
// one Badger transaction and one sync (group commit). A read never shows what
// is not yet durable: it waits for the commit that is being synced, as Badger's
// own reads do (txn.go, oracle.readTs).
//
// # Failure
//
// The first failed commit or sync fences the database: the pages of a failed
// sync are clean in the cache but not on the disk, so nothing read or written
// after it can be trusted. Every waiter is answered, every later call refused,
// [DB.Failed] is closed, and the process is expected to exit without Badger's
// Close. A fenced database keeps its directory locked until then.
//
// After a stop that was not a clean [DB.Close], [Open] rewrites whatever it
// recovered into new, synced files before it returns; see recover.go for why.
//
// # Assumes
//
// A file system that honours fsync and commits a new file's directory entry
// with it (ext4, XFS; see [Filesystem]); one process per directory (locked); a
// umask of 0077, because Badger creates its files 0666&^umask (the directory
// is 0700 in any case).
//
// # Concurrency
//
// All methods of DB and Queue may be called from any goroutine. The methods of
// a [Participant] run on the committer's goroutine only. Close waits for the
// committer and for running reads.
package kv
