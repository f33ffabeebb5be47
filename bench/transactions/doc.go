// Transactions measures what half messages cost a sidecar, over HTTP, beside plain
// accepts, in one run:
//
//	plain accepts       a message of 1 KiB, one call
//	prepare + commit    the same as a transaction (mode: local), two calls
//	N open              plain accepts beside N open half messages, each a transaction
//	N due               the same while all of them are to be checked: an application
//	                    is asked, and answers UNKNOWN
//
// Each has a server of its own, which is the one of `make bench`: listener, spool,
// forwarder and check-backs as they ship, and a broker that confirms at once. They
// take turns, round by round; those whose turn it is not are stopped, so that only
// one asks. The application is in this process, and counts how often it is asked in
// any second, and how often at once. What was answered is compared in the end with
// what the spools hold.
//
//	make bench-transactions OPEN=100000 ROUNDS=5
//
// Only ratios are judged, and the pace of the check-backs (target.go).
package main
