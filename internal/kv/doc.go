// Package kv owns one Badger database and the only goroutine that commits to it.
//
// # Promise
//
// When [Queue.Commit] returns nil, everything its operation wrote is on stable
// storage: Badger's write-ahead log was synced (livelog.go), and the directory
// if an entry in it had changed. Operations that wait at the same time share
// one Badger transaction and one sync (group commit); a commit waits for a moment
// for callers that the one before has answered (linger.go). A read never shows what
// is not yet durable: it waits for the commit that is being synced.
//
// Commits are numbered without gaps, by their seals (seal.go). Badger's versions
// are shared by consecutive commits, so that what is deleted soon is never written
// to a table (versions.go).
//
// # Failure
//
// The first failed commit or sync fences the database: the pages of a failed
// sync are clean in the cache but not on the disk, so nothing read or written
// after it can be trusted. Every waiter is answered, every later call refused,
// [DB.Failed] is closed, and the process is expected to exit without Badger's
// Close. A fenced database keeps its directory locked until then.
//
// The writes of HEAD are such syncs too, and so is a compaction that did not
// write all of its tables, or has read what is damaged (compactions.go): Badger
// would not tell. What it was made from is there until that is known, and the
// next Open takes it back.
//
// A disk that does not answer fails nothing: whoever waits goes on waiting. Who
// would rather be refused uses [Queue.Offer]; after Options.SyncTimeout offers
// are refused before anything is queued, until the disk has answered (stall.go).
//
// After a stop that was not a clean [DB.Close], [Open] rewrites whatever it
// recovered into new, synced files before it returns; see recover.go for why.
//
// # Damage
//
// Before Badger opens the files, which would cut off what it cannot read, Open
// reads them itself: the manifest, the end of each table, each log. A torn log
// is what a power loss leaves of the last commit, and no damage; a log in which
// something follows that was begun two commits later is rotten (walscan.go).
// The file HEAD, outside Badger, says how far the database had come, so that a
// log or a manifest which is cut at a valid end is missed too.
//
// A damaged database is salvaged within the same Open (salvage.go): all that
// can be read moves to a fresh directory under the same keys, the damaged one
// is put into [Options.QuarantineDir], and [DB.Damage] tells what was found. Of
// what shares a checksum with damage, all that can be shown to be whole is kept,
// if an [Owner] knows the values (mend.go). [DB.Damage] stays
// until [DB.AcknowledgeDamage]. Where a newer version of a key cannot be read
// an older one may come back. Nothing is cut off in silence, and nothing waits
// for an operator. A start that dies is followed by one that reads every block
// of every table, and that by one which takes a fresh directory in any case. So
// is a run that crashes within Badger (running.go), as a compaction does that
// meets damage, but for the fresh directory.
//
// Beside it HEAD holds a note of the owner ([DB.Note]), for what has to be known
// when the entry that says it is gone. A read that meets a damaged block fails
// with ErrDamaged, and has the next Open look at all of them, where Badger panics; but
// it may also take the rest of the block, or of its table, for not there. A [Scan] with
// Whole tells that, too (whole.go); a Get answers ErrNotFound.
//
// What is not seen at Open: damage inside a table's blocks, other than its
// last and the one with the last seal, after a start that did not die. And the
// blind spot: what was acknowledged after the last write of HEAD, at most a second
// before the end under load and 100 ms when idle, if the newest log is cut just
// there, or its very last commit is hit.
//
// # Files
//
// Beside Badger's: HEAD; OWNER, the lock; CLEAN while closed after everything
// was synced; FENCED after a fence; STARTS while a start is under way; RUNNING
// while open; DAMAGE until acknowledged; MANIFEST.earlier, a second name of
// Badger's manifest; MANIFEST.closing, the manifest as it was, while Badger
// closes. Next to the directory, during a salvage, DIR.salvage.
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
