// Package sidecar is the composition root: it opens what the configuration
// names, joins it, runs it and ends it in order.
//
// # Order
//
// Up: admin and health listeners, which answer "starting"; the lock of the
// spool's directory; databases, spool, broker; forwarder; subscriptions; the
// data listeners; ready. What must not be offered before it can be kept comes
// last.
//
// Down, at the end of Run's context: see (*Sidecar).steps, which is the list,
// and a test that reads it. Handlers that run get half of drain.timeout, and
// forwarding what is left of it: a handler that does not return takes nothing
// from others. Publishes are then refused with 503 draining, and receipts can be
// read, until the spool is empty or the drain is over. What is not forwarded by
// then waits in the spool; that is no error, and neither is a cut handler call.
//
// # A failed write or sync
//
// What was last asked of the disk is then unknown, and nothing after it can be
// trusted. Run answers the requests that wait, returns ErrStorage within two
// seconds and closes nothing: a process with an open Sidecar that has failed
// has to exit, with the code below.
//
// # A disk that does not answer
//
// A write that has taken spool.sync_timeout has stalled. Until it has come to its
// end the sidecar is not ready (condition sync-stalled), and publishes are refused
// with 503 busy; then it goes on by itself. A stop in the meantime waits for the
// disk as long as the drain lasts, answers who waits, and ends with 74 without
// closing anything; while the spool is opened it ends with 0 after drain.timeout. A
// call of the kernel that does not return keeps the process from being gone.
//
// # Exit codes
//
// ExitCode maps Run's error:
//
//	0   ended by request; what was not forwarded waits in the spool
//	1   failed: a port is taken, a directory cannot be used, a part ended by itself
//	2   the configuration is wrong (the command line's own code for usage)
//	74  a read, a write or a sync failed, at start or later: restart; what was
//	    accepted is safe, and what was being accepted was answered as unknown
//	    (EX_IOERR). Also at a stop, when the disk did not answer
//	75  another process holds the spool's directory: try again (EX_TEMPFAIL)
//	78  what is stored is not for this program with these keys: a key is missing
//	    or the key file is wrong, or a newer version wrote it. The error says
//	    which, and nothing was changed (EX_CONFIG)
//
// # Concurrency
//
// Run is called once. Addresses and Ready may be called from any goroutine.
package sidecar
