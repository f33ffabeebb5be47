// Package message is the one noun that every other package shares: the
// message an application hands over, its identity, its delivery to a handler,
// and the receipt that tells what became of it.
//
// The package does no I/O and holds no state. A Message is immutable once the
// spool has accepted it; values may be shared between goroutines as long as
// nobody writes to them. The binary codec (codec.go) is versioned: a reader
// refuses a version it does not know and never guesses.
package message
