package kv

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// lineFlatten is the first line of Flatten (db.go). It comes when the compactors
// have ended, before anything else, with none of Badger's locks held.
const lineFlatten = "\n"

// rest stops Badger's compactors while there is nothing for them to do. Each looks
// 20 times a second whether a level is too large (levels.go, runCompactor), also in a
// process that does nothing else: that was most of what an idle sidecar took.
//
// What they look at changes only by a flush or by a compaction. So when no level is
// too large none will be until Badger begins a new log, which the committer sees. From
// then on they run, until there was no other for two seconds: a flush takes less. One
// that takes longer is seen when the levels are looked at next.
//
// Badger stops them only within Flatten. Its goroutine is kept at its first line, and
// ends there when they are to run again: what it has deferred starts them.
type rest struct {
	giving *sync.Mutex // held by who calls Flatten, and guards never and pause
	badger *badger.DB
	after  time.Duration // without a new log; also between two looks at the levels

	rotated chan struct{} // capacity 1: Badger has begun a new log
	failed  <-chan struct{}
	once    sync.Once
	stop    chan struct{}
	ended   chan struct{} // closed when run has ended

	never    bool                  // a Flatten did not come by its first line
	pause    *pause                // nil: the compactors run
	stopping atomic.Pointer[pause] // of the Flatten that is to come to its first line
}

// pause is one call of Flatten.
type pause struct {
	stopped chan struct{} // closed when the compactors have ended
	over    chan struct{} // closed when they are to run again
	ended   chan struct{} // closed when they do
}

func newRest(giving *sync.Mutex, after time.Duration, failed <-chan struct{}) *rest {
	return &rest{
		giving: giving, after: after, failed: failed, rotated: make(chan struct{}, 1),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
}

// begunLog is called when Badger has begun a new log, by the committer. It does not
// block.
func (r *rest) begunLog() {
	select {
	case r.rotated <- struct{}{}:
	default:
	}
}

// run decides until end, or until the database is fenced.
func (r *rest) run() {
	defer close(r.ended)
	r.look()
	tick := time.NewTicker(r.after)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.look()
		case <-r.rotated:
			r.wake()
			tick.Reset(r.after)
		case <-r.stop:
			r.giving.Lock() // a GiveBack that has it may not have woken them yet
			r.resume()
			r.giving.Unlock()
			return
		case <-r.failed:
			return
		}
	}
}

// end asks run to end, with the compactors running, and tells when it has. A GiveBack
// that still runs is waited for.
func (r *rest) end() <-chan struct{} {
	r.once.Do(func() { close(r.stop) })
	return r.ended
}

// look stops the compactors, or lets them run, as the levels ask for. A GiveBack, which
// has woken them, goes first.
func (r *rest) look() {
	if !r.giving.TryLock() {
		return
	}
	defer r.giving.Unlock()
	if r.pause == nil && !r.never && !r.due() {
		r.begin()
	}
	if r.due() { // also by a flush since then
		r.resume()
	}
}

// wake has the compactors run. A GiveBack has done so already, or is about to.
func (r *rest) wake() {
	if r.giving.TryLock() {
		r.resume()
		r.giving.Unlock()
	}
}

func (r *rest) due() bool { return due(r.badger.Levels()) }

// due reports whether Badger compacts a level, or would. It tells a score of those that
// are too large, but for the last, and without the tables that a compaction reads, which
// are counted here: that may take long, and Flatten would stop the other compactor at
// once, and then wait.
func due(levels []badger.LevelInfo) bool {
	for n, l := range levels {
		if l.Score > 0 || 0 < n && n < len(levels)-1 && l.Size >= l.TargetSize {
			return true
		}
	}
	return false
}

// begin stops the compactors. A Flatten that does not come by its first line does what
// it is there for, starts them, and is not called again. giving is held.
func (r *rest) begin() {
	p := &pause{make(chan struct{}), make(chan struct{}), make(chan struct{})}
	r.stopping.Store(p)
	go func() {
		defer close(p.ended)
		_ = r.badger.Flatten(1) // what fails of it is in Badger's log
	}()
	select {
	case <-p.stopped:
		r.pause = p
	case <-p.ended:
		r.stopping.Store(nil)
		r.never = true
	case <-r.failed:
		r.pause = p
	}
}

// resume starts the compactors, if they rest. giving is held.
func (r *rest) resume() {
	if r.pause == nil {
		return
	}
	close(r.pause.over)
	<-r.pause.ended
	r.pause = nil
}

// flattens is called by Flatten at its first line. It does not return to the one that
// begin has called.
func (r *rest) flattens() {
	p := r.stopping.Swap(nil)
	if p == nil { // it is a GiveBack
		return
	}
	close(p.stopped)
	<-p.over
	runtime.Goexit()
}
