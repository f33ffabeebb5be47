// Backlog measures what millions of waiting messages cost: an outage of the
// broker that lasts. It fills a spool over HTTP, with a broker that refuses
// everything, and compares it round by round with a spool that is nearly empty:
// the rate of accepts, and memory. Then it kills the server, stops it, and
// opens it again; lets the broker take everything; and looks a minute later at
// what is left on the disk and in memory. Then as many messages again pass at
// full load, and what is left of memory is looked at once more. Some are left
// behind all these, and the time is taken in which the first of them is found.
// A fresh sidecar, the real program, is looked at in the beginning.
//
//	go run ./bench/backlog -messages 5000000 -sidecar bin/sidecar
//
// needs about 2 KiB of disk a message. Rates are ratios of interleaved rounds;
// times and sizes are as they are. What is asked of each is judged (target.go).
package main
