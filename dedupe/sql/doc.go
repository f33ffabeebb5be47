// Package sql keeps dedupe marks in a PostgreSQL, MySQL or MariaDB that several
// sidecars share: the members of a group then call a handler once for a key,
// whichever of them a message is delivered to.
//
// # Marks
//
// A mark is a row of the table remora_dedupe, by the hash of scope and key;
// postgres.sql and mysql.sql say what is in it. The table is made when it is
// found missing. Keys and contents of messages are only there as hashes. The row
// of a key has its last 4 contents that were done; an older one has a row of its
// own, written in the same transaction.
//
// The first Begin of a key is one INSERT, which the unique key lets one of many
// win. All else reads the row under its lock, decides in Go, and writes it, in one
// transaction; but for Done of a key that had no other content, which is one
// UPDATE. Calls that got no answer, met a deadlock or a lost connection are made
// again: the row knows them (dedupe.Claim), so that a lost answer costs neither an
// attempt nor the wait for a lease.
//
// The token counts up by at least one, from the time of the first mark in µs: a
// mark that was lost and begun anew has a higher one, so that who held the lost
// one is fenced.
//
// # Time
//
// Leases and windows run on the clock of the server, in UTC; the clocks of
// sidecars are not asked. A server whose clock is set forward ends leases and
// windows earlier by that much. Rows whose window has passed count as absent, and
// are deleted by every store that is open, up to 1,000 with a statement.
//
// # Durability
//
// A method that returned nil has its mark committed: it survives what commits of
// the server survive. Inspect says where its settings are weaker than they could
// be. A mark that is lost can only repeat a message.
//
// # Concurrency
//
// Methods of Store may be called from many goroutines. The store owns a goroutine
// that deletes, which Close ends.
package sql
