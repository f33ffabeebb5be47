// Backlog measures what millions of waiting messages cost: an outage of the
// broker that lasts. It fills a spool over HTTP, with a broker that refuses
// everything, and compares it round by round with a spool that is nearly empty:
// the rate of accepts, and memory. Then it kills the server, stops it, and
// opens it again; lets the broker take everything; and looks a minute later at
// what is left on the disk and in memory.
//
//	go run ./bench/backlog -messages 5000000
//
// needs about 2 KiB of disk a message. Rates are ratios of interleaved rounds;
// times and sizes are as they are.
package main
