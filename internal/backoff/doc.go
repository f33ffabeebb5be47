// Package backoff says how long to wait before the next attempt: exponential,
// bounded, and jittered so that many waiters do not return together.
//
// A Policy is a value without state. It never gives up: how many attempts are
// made is the caller's decision. All functions are safe for concurrent use as
// long as the random source passed in is.
package backoff
