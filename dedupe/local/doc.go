// Package local keeps dedupe marks in the sidecar's own database, next to the
// spool. It covers one sidecar; a group of several needs a shared store.
//
// What a method did is on stable storage when it returns nil: marks ride in the
// same group commits as the spool's messages. All reading and writing happens
// inside the commit, so two callers can never both begin. Begin of a new key is an
// exception, see below.
//
// # The journal
//
// A key that memory knows to be new is begun without a commit, under the lock that the
// commit has for each operation: its mark is kept in memory, and written into a slot of
// a file (Options.Journal), which is not synced. It survives a kill of the process. Most
// are done within some milliseconds, and their done mark is the only one in the
// database; what is in progress for longer than 50 to 100 ms is written there then. So a
// power loss may take an attempt of the last moment off the count, and nothing else.
//
// Open writes the marks of slots into the database, of those keys that have none there,
// and empties the file. A slot is free when a later state of its mark is on stable
// storage. A file that cannot be written, and one without a free slot, have their keys
// begun in commits.
//
// # Time
//
// The window and the leases are measured on the store's own clock, which runs
// only while the store is open and goes on where its last commit left off, or the
// last mark in the journal. No jump of the wall clock, and no time spent switched off,
// can shorten a window; a window lasts longer by the time the store was closed.
//
// # Marks
//
// A key is a 16-byte hash of scope and key. Each change writes the whole mark
// into the newest bucket, a span of time; a look-up goes from the newest to the
// oldest, so the first mark found is the right one and nothing is ever moved. A
// bucket whose youngest mark is older than the window is no longer looked at,
// and is then deleted whole. Marks that are held are in memory besides, so that
// what ends one reads nothing. Of each bucket a Bloom filter of 12 bits a mark tells
// that a key has none, so that what is new reads nothing either. Those of earlier
// openings are read for it after a start, aside, by half of a core at most; until then,
// and where fewer are read than were noted to be there, marks are looked for in them.
//
// The mark of a key has its last contents that were done. One for which it has no
// more room gets a mark of its own, in the same commit; it is looked for only where
// the key's is full.
//
// Marks have a number of bytes on disk besides. Above it the oldest buckets are
// deleted, so a bucket ends also with an eighth of the bytes; a mark whose lease
// runs moves to the newest one instead. From then on the window is shorter:
// [Store.Stats] tells since when every mark is known.
//
//	d/t                 the clock: milliseconds
//	d/e                 up to where on it marks were deleted for want of bytes
//	d/c <bucket>        how many marks are in a bucket, and of how many bytes
//	d/k                 the secret, when there are keys to encrypt with
//	d/b <bucket> <hash> a mark; bucket is the clock when it was opened
//
// With a key ring marks are encrypted, and the hash is keyed with the secret:
// what the keys and fingerprints of messages are cannot be tried out on a copy of
// the files. Marks from before stay plain until their bucket is deleted.
//
// One process owns the database, so leases of an earlier run have ended; their
// counts of attempts stay. A mark that fails its checksum is treated as absent:
// the handler may be called again, and nothing is suppressed.
package local
