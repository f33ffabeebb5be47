package reread

import (
	"sync"
	"sync/atomic"
	"time"
)

// Every is how old what is known may be.
const Every = 2 * time.Second

// Value is what files hold. They are read again when it is asked for and Every has
// passed. While they cannot be read, what was known goes on. Methods may be called from
// many goroutines; one of them reads, and no other waits for it.
type Value[T any] struct {
	again func(known T) (T, error)
	now   func() time.Time
	known atomic.Pointer[T]

	reading sync.Mutex // held by the one who reads
	read    time.Time
}

// New keeps what was read first. again reads, knowing what was read last; it is called
// by one goroutine at a time.
func New[T any](first T, again func(known T) (T, error), now func() time.Time) *Value[T] {
	v := &Value[T]{again: again, now: now, read: now()}
	v.known.Store(&first)
	return v
}

// Current returns what was read last. An error says why it is what was known before: it
// is returned to one caller each time that the files were read.
func (v *Value[T]) Current() (T, error) {
	err := v.refresh()
	return *v.known.Load(), err
}

func (v *Value[T]) refresh() error {
	if !v.reading.TryLock() {
		return nil
	}
	defer v.reading.Unlock()
	now := v.now()
	if now.Sub(v.read) < Every {
		return nil
	}
	v.read = now
	next, err := v.again(*v.known.Load())
	if err != nil {
		return err
	}
	v.known.Store(&next)
	return nil
}
