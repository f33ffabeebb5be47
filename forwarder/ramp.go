package forwarder

import (
	"context"
	"slices"
	"sync"
)

// ramp bounds how many attempts run at a time, over all topics, after the broker
// was away: one at first, and one more whenever as many as are allowed have been
// confirmed. So it grows by one for each time that the broker takes to answer,
// and a broker that comes back slowly is not met by all lanes at full width.
//
// Attempts of lanes that fail are not bounded by it: a lane makes one of them at a
// time, after its backoff, and a topic that is stuck delays no other.
type ramp struct {
	mu        sync.Mutex
	most      int
	allowed   int
	running   int
	confirmed int             // attempts, since allowed grew
	lanes     int             // there are
	row       int             // failures with nothing confirmed between
	failing   map[string]bool // topics of these
	waiting   []chan struct{}
}

func newRamp(most int) *ramp { return &ramp{most: most, allowed: most, failing: map[string]bool{}} }

// join tells of a lane more.
func (r *ramp) join() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lanes++
}

// enter waits until an attempt is allowed. It returns false when ctx is done before.
// When all are, nobody waits here: who is next is for the slots to decide.
func (r *ramp) enter(ctx context.Context) bool {
	r.mu.Lock()
	if r.allowed == r.most || r.running < r.allowed && len(r.waiting) == 0 {
		r.running++
		r.mu.Unlock()
		return true
	}
	ready := make(chan struct{})
	r.waiting = append(r.waiting, ready)
	r.mu.Unlock()
	select {
	case <-ready:
		return true
	case <-ctx.Done():
		return r.withdraw(ready)
	}
}

// withdraw takes back a wish; true: it was granted just now.
func (r *ramp) withdraw(ready chan struct{}) (granted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.waiting, ready)
	if i < 0 {
		return true
	}
	r.waiting = slices.Delete(r.waiting, i, i+1)
	return false
}

func (r *ramp) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	r.admit()
}

// admit lets those go that waited longest. r.mu is held.
func (r *ramp) admit() {
	for (r.allowed == r.most || r.running < r.allowed) && len(r.waiting) > 0 {
		r.running++
		close(r.waiting[0])
		r.waiting = r.waiting[1:]
	}
}

// succeeded notes an attempt that was confirmed.
func (r *ramp) succeeded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.row = 0
	clear(r.failing)
	if r.allowed == r.most {
		return
	}
	if r.confirmed++; r.confirmed >= r.allowed {
		r.allowed, r.confirmed = r.allowed+1, 0
		r.admit()
	}
}

// failed notes an attempt that no broker took. The broker is away when two topics
// fail, or the only one twice, with nothing confirmed between, and no other attempt runs
// of a lane that does not fail: what is wrong with one topic alone is none of the
// others' business.
func (r *ramp) failed(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.row++
	r.failing[topic] = true
	if r.row > 1 && len(r.failing) >= min(2, r.lanes) && r.running <= 1 {
		r.allowed, r.confirmed = 1, 0
	}
}

// limit is how many attempts are allowed.
func (r *ramp) limit() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.allowed
}

// start waits until the lane may make an attempt, and returns what ends it; nil:
// ctx was done first.
func (l *lane) start(ctx context.Context) (end func()) {
	ramped := !l.failing()
	if ramped && !l.f.ramp.enter(ctx) {
		return nil
	}
	leave := func() {
		if ramped {
			l.f.ramp.leave()
		}
	}
	if !l.begin(ctx) {
		leave()
		return nil
	}
	return func() {
		l.end()
		leave()
	}
}
