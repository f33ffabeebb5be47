package sidecar

import (
	"sync"
	"time"

	"github.com/remora-mq/remora/spool"
)

// flow is how many messages come and go. Its methods may be called from any
// goroutine.
type flow struct {
	mu        sync.Mutex
	at        time.Time
	accepted  rate
	confirmed rate
}

// rate is that of a counter, in messages a second.
type rate struct {
	count     uint64 // when observed
	perSecond mean
}

func (r *rate) observe(took float64, count uint64) {
	if took > 0 {
		r.perSecond.add(float64(count-r.count) / took)
	}
	r.count = count
}

// mean is one in which the last few of what was added weigh most.
type mean float64

// smoothing is the number of them that a mean mostly is of.
const smoothing = 5

func (m *mean) add(v float64) { *m += (mean(v) - *m) / smoothing }

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
	f.confirmed.observe(took, total.Confirmed)
}

// Flow is how many messages come and go, a second.
type Flow struct {
	Accepted  float64 `json:"accepted"`
	Confirmed float64 `json:"confirmed"`
}

func (f *flow) tell() Flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Flow{Accepted: f.accepted.rounded(), Confirmed: f.confirmed.rounded()}
}

// rounded leaves out what is no news: a mean never comes back to 0 by itself.
func (r *rate) rounded() float64 {
	if r.perSecond < 0.05 {
		return 0
	}
	return float64(int64(r.perSecond*10+0.5)) / 10
}
