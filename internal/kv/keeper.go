package kv

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// The head follows the commits at most a second behind while they come, and
// 100 ms once they pause, the sync included.
const (
	headBusy = 900 * time.Millisecond
	headTick = 40 * time.Millisecond
)

// keeper writes the head behind the commits. Its goroutine, run, owns the
// head's file from the start to the end.
type keeper struct {
	dir     *directory
	fence   func(error)
	reached atomic.Uint64 // the last durable commit
	noted   atomic.Pointer[string]
	place   logPlace // what the head last said
	writing *watch

	wake  chan struct{} // capacity 1: reached has moved
	stop  chan struct{}
	once  sync.Once
	ended chan struct{} // closed when run has ended
}

func newKeeper(dir *directory, fence func(error), writing *watch) *keeper {
	k := &keeper{
		dir: dir, fence: fence, writing: writing,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	k.reached.Store(dir.head.head.highWater)
	return k
}

// committed is called after each durable commit. It does not block.
func (k *keeper) committed(number uint64) {
	k.reached.Store(number)
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// end asks run to end, and tells when it has.
func (k *keeper) end() <-chan struct{} {
	k.once.Do(func() { close(k.stop) })
	return k.ended
}

// closed writes the head of a closed database, which has no log.
func (k *keeper) closed() error {
	k.place = logPlace{}
	return k.write()
}

func (k *keeper) run(failed <-chan struct{}) {
	defer close(k.ended)
	for {
		select {
		case <-k.wake:
		case <-k.stop:
			return
		case <-failed:
			return
		}
		if !k.pause(failed) {
			return
		}
		if err := k.note(); err != nil {
			k.fence(err)
			return
		}
	}
}

// pause waits until no commit comes for a tick, or for headBusy.
func (k *keeper) pause(failed <-chan struct{}) (goOn bool) {
	tick := time.NewTicker(headTick)
	defer tick.Stop()
	for started, seen := time.Now(), k.reached.Load(); ; {
		select {
		case <-tick.C:
		case <-k.stop:
			return false
		case <-failed:
			return false
		}
		now := k.reached.Load()
		if now == seen || time.Since(started) > headBusy {
			return true
		}
		seen = now
	}
}

func (k *keeper) note() error {
	reached := k.reached.Load()
	if reached == k.dir.head.head.highWater {
		return nil
	}
	k.writing.begin()
	defer k.writing.end()
	if err := k.place.follow(k.dir, reached); err != nil {
		return err
	}
	return k.write()
}

func (k *keeper) write() error {
	next := k.dir.head.head
	next.highWater, next.log, next.offset = k.reached.Load(), k.place.log, k.place.offset
	if note := k.noted.Load(); note != nil {
		next.note = *note
	}
	return k.dir.head.write(next)
}

// logPlace is the end of a transaction in the newest log.
type logPlace struct {
	log    uint64
	offset int64
}

// follow moves to the end of the last transaction up to reached. A log that is
// gone was flushed: then there is a newer one, at the next time.
func (p *logPlace) follow(d *directory, reached uint64) error {
	logs, err := d.logs()
	if err != nil || len(logs) == 0 {
		return err
	}
	newest := logs[len(logs)-1]
	if newest.id != p.log {
		*p = logPlace{newest.id, walHeader}
	}
	f, err := os.Open(filepath.Join(d.path, newest.name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	p.offset, err = walk(f, p.offset, reached)
	return errors.Join(err, f.Close())
}

// walk steps over entries by their headers, from the end of a transaction to
// the end of the last one up to reached. It reads a small part of the log.
func walk(f io.ReaderAt, from int64, reached uint64) (end int64, err error) {
	buf := make([]byte, pageSize)
	w := walker{at: from, end: from}
	for {
		n, err := f.ReadAt(buf, w.at)
		if err != nil && !errors.Is(err, io.EOF) {
			return w.end, err
		}
		if more := w.stride(buf[:n], reached); !more {
			return w.end, nil
		}
	}
}

// walker is a place in a log, between two entries.
type walker struct {
	at     int64
	end    int64  // of the last transaction
	number uint64 // by the seal since then; 0: there was none yet
}

// stride steps over the entries whose headers, and seals, are in b, which begins
// at w.at, and reports whether there may be more.
func (w *walker) stride(b []byte, reached uint64) (more bool) {
	i := 0
	for i < len(b) {
		s, ok := readShape(b[i:])
		if !ok || i+s.header+s.key > len(b) {
			break
		}
		key, version := b[i+s.header:i+s.header+s.key-versionSize], versionOf(b[i:], s)
		switch {
		case s.meta == bitFinTxn:
			w.end, w.number = w.at+int64(i+s.size()), 0
		case bytes.Equal(key, sealKey):
			value := i + s.header + s.key
			if value+s.rest > len(b) {
				w.at += int64(i)
				return i > 0
			}
			if w.number, _, _ = readSeal(b[value:value+s.rest-crcSize], version); w.number > reached {
				return false
			}
		}
		i += s.size()
	}
	w.at += int64(i)
	return i > 0
}
