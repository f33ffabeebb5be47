// Package redis keeps dedupe marks in a Redis that several sidecars share: the
// members of a group then call a handler once for a key, whichever of them a
// message is delivered to.
//
// What an operation changes is changed by one script, which Redis runs alone, or by one
// command; the done marks of a pipeline are one run of a script together. So two callers
// can never both begin, and an operation is done whole or not at all. Calls that got no
// answer are sent again by the library; the server knows them (dedupe.Claim), so that a
// lost answer costs neither an attempt nor the wait for a lease. A copy of a call that
// comes late, over a connection that hung, begins nothing: see begin.lua.
//
// # Marks
//
// A mark is a string of Redis with a time to live, numbers big endian:
//
//	remora:dedupe:<hash>  the hash of scope and key, in hex
//	    version   1 byte: "1"
//	    held      1 byte: "1" while a delivery holds the key, else "0"
//	    token     8: the claim of the call that began last; fences those before it
//	    effect    16: the fingerprint of that call
//	    lease     8: ms, from when the mark was last written
//	    window    8: ms, from then
//	    attempts  4: how often effect was begun
//	    done      16 each: what was handled, latest last, 4 at most
//	remora:dedupe:{remora:dedupe:<hash>}<fingerprint in hex>
//	    is there  handled, and one for which the mark of its key has no room
//
// It lives for the window from its last change on, and so the time that it has left
// to live tells how old it is, and what is left of the lease. Keys and contents of
// messages are only there as hashes. A mark is about 250 bytes of Redis's memory,
// one of a fingerprint about 200.
//
// A key that has no mark is taken by SET with NX: the server spends a quarter of a
// script on it. For one that has, a script looks what is known, and where the key is
// free another takes it, if its mark is still the one that was seen. Marks that are
// hashes of Redis are of an earlier version, and written anew when they are met; a
// sidecar of that version takes the server for unavailable where it meets one of this.
//
// The token is drawn at random for each call that begins. The keys of Redis that an
// operation uses are in one slot, so a cluster of Redis will do that is reached
// through one address; it refuses done marks together, and then gets them one by one.
//
// # Time
//
// Leases and windows run on the clock of the server; the clocks of sidecars are
// not asked, however wrong they are. A server whose clock is set forward ends
// leases and windows earlier by that much, so let its clock be slewed.
//
// # Durability
//
// A mark survives what Redis survives. With appendonly yes and appendfsync always
// a method that returned nil has its mark on the disk. With everysec a crash of
// the machine takes back the last second, and with no append-only file what was
// written since the last snapshot: these messages may reach their handler once
// more. A policy that evicts (maxmemory-policy other than noeviction) forgets
// marks under pressure, and a failover those that the replica did not have. None
// of this loses a message: a mark that is gone can only repeat. Inspect says how
// the server is set.
//
// # Concurrency
//
// Methods of Store may be called from many goroutines. Calls that come while a pipeline
// is under way wait for the next one, and share it: the way there and back, and the
// sync of a server that has appendfsync always. One that takes an eighth of the timeout
// may have a connection that hangs: its calls are sent again over another. Redis 5 or
// later is needed, 6 or later for users of its access control; a user needs the
// commands EVAL, EVALSHA, GET, SET, EXISTS, PTTL and PING, the keys remora:dedupe:*,
// and CONFIG GET or INFO for Inspect; TYPE, HMGET and TIME while there are marks of an
// earlier version.
package redis
