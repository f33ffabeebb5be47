package spool

import (
	"errors"
	"fmt"
)

// Errors of Append. Nothing was stored when one of these is returned, except
// with ErrUnknown.
var (
	// ErrFull: the high-water mark is reached; retry when the broker has taken some.
	ErrFull = errors.New("spool is full")
	// ErrTopicFull: the topic holds its share; retry when the broker has taken some of it.
	ErrTopicFull = errors.New("topic holds its share of the spool")
	// ErrDiskLow: the volume has less than the reserve; retry when it has more.
	ErrDiskLow = errors.New("volume is low on space")
	// ErrBusy: the disk is behind, or does not answer; retry soon.
	ErrBusy = errors.New("disk does not take it in time")
	// ErrTooManyTopics: the limit of topics is reached.
	ErrTooManyTopics = errors.New("too many topics")
	// ErrTooLarge: the unit can never be stored, however empty the spool is; send it
	// in parts. See TooLargeError.
	ErrTooLarge = errors.New("too large to be stored")
	// ErrClosed: the spool is closing or closed.
	ErrClosed = errors.New("spool is closed")
	// ErrReadOnly: a sync failed before, or damage was met; restart the process.
	ErrReadOnly = errors.New("spool is read-only after a failed sync, or for damage")
	// ErrUnknown: a sync failed, or the caller gave up waiting, while the
	// operation was being written; it may or may not be stored.
	ErrUnknown = errors.New("it is not known whether this was stored")
	// ErrKeyDamaged, with ErrUnknown: what tells whether the dedupe key was accepted
	// before is damaged. The next opening gives it up, and says so.
	ErrKeyDamaged = errors.New("what is known of the idempotency key is damaged")
	// ErrKeyReused: the dedupe key was accepted before with other content.
	ErrKeyReused = errors.New("idempotency key was used before with other content")
	// ErrKeySettled: the message accepted under the dedupe key was cancelled or discarded.
	ErrKeySettled = errors.New("idempotency key belongs to a message that was cancelled or discarded")
)

// Errors of the calls that name a message.
var (
	// ErrNotFound: no message of that ID is held, nor its receipt kept.
	ErrNotFound = errors.New("no such message")
	// ErrWrongState: what was asked for does not fit the state it is in.
	ErrWrongState = errors.New("the message's state does not allow this")
	// ErrAlreadySent: it is in flight or settled.
	ErrAlreadySent = errors.New("message is in flight or settled")
	// ErrMaybeSent: an attempt may have reached the broker.
	ErrMaybeSent = errors.New("an attempt may have reached the broker")
)

// DraftError says which draft of an Append is at fault.
type DraftError struct {
	Index int // in the slice given to Append
	Err   error
}

func (e *DraftError) Error() string { return fmt.Sprintf("message %d: %v", e.Index, e.Err) }
func (e *DraftError) Unwrap() error { return e.Err }

// TooLargeError says of what an Append has too much.
type TooLargeError struct {
	What       string // that has a bound
	Size, Most int64  // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%v: %d bytes of %s, and %d are the most", ErrTooLarge, e.Size, e.What, e.Most)
}
func (e *TooLargeError) Unwrap() error { return ErrTooLarge }

// TopicFullError says which topic of an Append holds its share.
type TopicFullError struct {
	Topic       string
	Held, Share int64 // bytes
}

func (e *TopicFullError) Error() string {
	return fmt.Sprintf("%v: %s holds %d of %d bytes; raise spool.topic_share, or wait until the broker has taken some", ErrTopicFull, e.Topic, e.Held, e.Share)
}
func (e *TopicFullError) Unwrap() error { return ErrTopicFull }
