package dedupe

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"
)

// Key names one effect. Scope is cluster, topic and group (and the instance
// for broadcast), so that two groups never suppress each other.
type Key struct {
	Scope string
	Key   string // never empty
}

// Path is scope and key in one, so that no two pairs have the same.
func (k Key) Path() []byte {
	return k.appendPath(make([]byte, 0, binary.MaxVarintLen64+len(k.Scope)+len(k.Key)))
}

func (k Key) appendPath(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(k.Scope)))
	return append(append(b, k.Scope...), k.Key...)
}

// Hash stands for the key where others may read: 16 bytes of the SHA-256 of its
// path. It is stored, so it must not change.
func (k Key) Hash() [16]byte {
	sum := sha256.Sum256(k.appendPath(make([]byte, 0, 256))) // on the stack, of nearly all keys
	return [16]byte(sum[:16])
}

// With is the key of one content of k: where a store keeps apart what it does not
// keep together with the other contents. Its scope is none that a group has.
func (k Key) With(f Fingerprint) Key { return Key{Scope: k.Scope + "\x00" + string(f[:]), Key: k.Key} }

// Fingerprint is a hash of what the effect depends on. The same key with
// another fingerprint is a conflict: delivered, counted, never suppressed.
type Fingerprint [16]byte

// Verdict is what Begin found.
type Verdict uint8

const (
	// InProgress: another delivery holds the key; ask again when its lease ends.
	// It is the zero value: what is forgotten waits, and is never suppressed.
	InProgress Verdict = iota
	// Begun: the caller holds the key, and calls the handler.
	Begun
	// Repeat: done before, with the same fingerprint; ack without calling.
	Repeat
)

func (v Verdict) String() string { return [...]string{"in_progress", "begun", "repeat"}[v] }

// Mark is the answer of Begin.
type Mark struct {
	Verdict  Verdict
	Conflict bool      // the key was done with another fingerprint
	Attempt  int       // how often the handler was or is about to be called for the key, from 1
	Until    time.Time // end of the lease, ours or the other's
	Token    uint64    // fences Done, Extend and Release of an earlier holder
}

// ErrFenced reports that another delivery took the key over, or that the
// window of a mark without an end has passed.
var ErrFenced = errors.New("the dedupe mark was taken over by another delivery")

// ErrUnavailable reports that a store which several sidecars share cannot be
// reached, or refuses: whether the key was handled before is not known.
var ErrUnavailable = errors.New("dedupe store is unavailable")

// ErrClosed reports a call of a store that is closed.
var ErrClosed = errors.New("dedupe store is closed")

// Store keeps marks. Methods may be called from many goroutines. When a method
// returns nil, what it did survives a crash (as far as the store's own
// durability goes: documented by each backend).
type Store interface {
	// Begin takes the key for lease when it is free, released, or its lease has
	// ended, counting one more attempt; the same holder may not call it twice.
	// The count is that of one fingerprint: another one begins at 1. A lease is
	// at most as long as the window; the mark tells. It is whole when Begin returns,
	// also where that took long, or an earlier call began and was not told so.
	Begin(ctx context.Context, k Key, f Fingerprint, lease time.Duration) (Mark, error)
	// Extend moves the end of the lease to lease from now, also after it ended,
	// as long as nobody else took the key. A store may leave it where it is later.
	Extend(ctx context.Context, k Key, m Mark, lease time.Duration) error
	// Done records that the handler answered 200. It is kept for the window.
	// It succeeds also after the lease ended, as long as nobody else took the
	// key: a late 200 counts.
	Done(ctx context.Context, k Key, m Mark) error
	// Release frees the key after a failed attempt, keeping the count. counts
	// false: the attempt did not reach the handler, and is taken off the count.
	Release(ctx context.Context, k Key, m Mark, counts bool) error
	// Forget frees the key and forgets the count: the message went to the dead
	// letters, and a redrive of it begins at the first attempt. Marks that are
	// done stay.
	Forget(ctx context.Context, k Key, m Mark) error
	// Close waits for running calls.
	Close() error
}

// Weakness is a setting of a server that keeps marks less long, or less safely,
// than is promised.
type Weakness struct {
	Text string // what follows from it
	Hint string // what to do about it
}
