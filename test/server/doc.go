// Package server starts the servers that dedupe marks are shared through, as
// Debian ships them: each on a free port of the loopback, in a folder of the
// test, which it is gone with.
//
// A Server belongs to the goroutine of its test, but for Addr.
package server
