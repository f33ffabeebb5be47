package sidecar

import (
	"sync"
	"time"

	"github.com/remora-mq/remora/spool"
)

// flow is how many messages come and go. Its methods may be called from any
// goroutine.
type flow struct {
	mu       sync.Mutex
	at       time.Time
	accepted rate
	left     rate // settled, in whatever way
	confirms rate
}

// rate is that of a counter, in messages a second: a mean in which the last few
// seconds weigh most.
type rate struct {
	count     uint64 // when observed
	perSecond float64
}

// smoothing is the number of observations that a mean mostly is of.
const smoothing = 5

func (r *rate) observe(took float64, count uint64) {
	if took > 0 {
		r.perSecond += (float64(count-r.count)/took - r.perSecond) / smoothing
	}
	r.count = count
}

// observe is called about once a second with the ledger's sums.
func (f *flow) observe(now time.Time, total spool.Counts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	took := 0.0
	if !f.at.IsZero() {
		took = now.Sub(f.at).Seconds()
	}
	f.at = now
	f.accepted.observe(took, total.Accepted)
	f.left.observe(took, settledOf(total))
	f.confirms.observe(took, total.Confirmed)
}

// Flow is the answer's part of how messages come and go.
type Flow struct {
	Accepted  float64 `json:"accepted"`  // messages a second
	Confirmed float64 `json:"confirmed"` // the same
	// DrainedIn is in how many seconds what can be sent is gone, if it goes on so; nil:
	// it does not become less, or nobody can tell yet.
	DrainedIn *int64 `json:"drained_in_seconds"`
}

// longest is as far as an estimate goes: a day.
const longest = 24 * 60 * 60

// tell estimates for so many messages that can be sent.
func (f *flow) tell(waiting uint64) Flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := Flow{Accepted: f.accepted.rounded(), Confirmed: f.confirms.rounded()}
	shrinks := f.left.perSecond - f.accepted.perSecond
	switch {
	case waiting == 0:
		out.DrainedIn = new(int64(0))
	case shrinks > 0 && float64(waiting)/shrinks < longest:
		out.DrainedIn = new(int64(float64(waiting)/shrinks) + 1)
	}
	return out
}

// rounded leaves out what is no news: a mean never comes back to 0 by itself.
func (r *rate) rounded() float64 {
	if r.perSecond < 0.05 {
		return 0
	}
	return float64(int64(r.perSecond*10+0.5)) / 10
}
