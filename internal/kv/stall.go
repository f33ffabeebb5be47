package kv

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// stalls knows of what is written now and does not come to an end: the disk does
// not answer. Nothing is lost by that, nor known to be stored, and it may pass.
type stalls struct {
	after time.Duration
	tell  func(stalled bool)
	log   *slog.Logger

	any atomic.Bool // for those who queue

	mu    sync.Mutex
	since time.Time // when the oldest of them began; zero: there is none
	now   int
	times uint64
}

// watch is on what one goroutine writes.
type watch struct {
	of    *stalls
	what  string
	timer *time.Timer

	began   time.Time // guarded by of.mu; zero: nothing is being written
	stalled bool      // guarded by of.mu
}

func newStalls(o Options) *stalls {
	s := &stalls{after: o.SyncTimeout, tell: o.OnStall, log: o.Logger}
	if s.tell == nil {
		s.tell = func(bool) {}
	}
	return s
}

func (s *stalls) watch(what string) *watch {
	w := &watch{of: s, what: what}
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Stop()
	return w
}

// begin and end are called around what is watched, by the one who does it.
func (w *watch) begin() {
	w.of.mu.Lock()
	w.began = time.Now()
	w.of.mu.Unlock()
	w.timer.Reset(w.of.after)
}

func (w *watch) end() {
	w.timer.Stop()
	s := w.of
	s.mu.Lock()
	defer s.mu.Unlock()
	took, stalled := time.Since(w.began), w.stalled
	w.began, w.stalled = time.Time{}, false
	if !stalled {
		return
	}
	if s.now--; s.now > 0 {
		return
	}
	s.since = time.Time{}
	s.any.Store(false)
	s.log.Info("what had stalled has come to its end", "what", w.what, "took_ms", took.Milliseconds())
	s.tell(false)
}

// look is called when it has taken too long. The timer may be late, and what it
// was set for over.
func (w *watch) look() {
	s := w.of
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.began.IsZero() || w.stalled || time.Since(w.began) < s.after {
		return
	}
	w.stalled = true
	s.times++
	if s.now++; s.now > 1 {
		return
	}
	s.since = w.began
	s.any.Store(true)
	s.log.Warn("the disk does not answer: nothing more is accepted until it does", "what", w.what, "for_ms", time.Since(w.began).Milliseconds())
	s.tell(true)
}

// Stalled tells since when the disk has not completed what it was given, zero if
// it does its work, and how often that happened since Open: a commit, or a write
// of HEAD, that has taken Options.SyncTimeout.
func (db *DB) Stalled() (since time.Time, times uint64) {
	db.stalls.mu.Lock()
	defer db.stalls.mu.Unlock()
	return db.stalls.since, db.stalls.times
}

// Busy returns ErrBusy if the disk is too far behind for an Offer of so many
// bytes, else nil.
func (db *DB) Busy(size int) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.busy(size)
}

// busy is Busy. db.mu is held.
func (db *DB) busy(size int) error {
	if db.stalls.any.Load() {
		return fmt.Errorf("%w: it has not completed a write for %s or longer", ErrBusy, db.opts.SyncTimeout)
	}
	queued := size
	for b := range db.queued {
		queued += b.bytes
	}
	if queued > db.opts.MaxQueued {
		return fmt.Errorf("%w: %d bytes would wait for it, and %d may", ErrBusy, queued, db.opts.MaxQueued)
	}
	return nil
}
