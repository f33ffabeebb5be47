package httpapi

import (
	"math"
	"time"

	"golang.org/x/time/rate"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// topics says which topics may be published to, and how fast. Its methods may be
// called from many goroutines.
type topics struct {
	allowed map[string]bool // nil: any
	rates   map[string]*rate.Limiter
}

func newTopics(o Options) *topics {
	t := &topics{rates: map[string]*rate.Limiter{}}
	for _, name := range o.AllowedTopics {
		if t.allowed == nil {
			t.allowed = map[string]bool{}
		}
		t.allowed[name] = true
	}
	for name, r := range o.TopicRates {
		t.rates[name] = rate.NewLimiter(rate.Limit(r), max(1, int(math.Ceil(r))))
	}
	return t
}

// check refuses a topic that is not allowed.
func (t *topics) check(name string) error {
	if t.allowed == nil || t.allowed[name] {
		return nil
	}
	return problem.New(problem.TopicNotAllowed, "the topic %s is not one of topics.allow", name)
}

// admit takes all drafts within the rates of their topics, or none. What is
// more than a second's worth passes when nothing was taken for a second.
func (t *topics) admit(drafts []spool.Draft, now time.Time) error {
	if len(t.rates) == 0 {
		return nil
	}
	counts := map[string]int{}
	for i := range drafts {
		counts[drafts[i].Topic]++
	}
	var taken []*rate.Reservation
	for name, n := range counts {
		limiter := t.rates[name]
		if limiter == nil {
			continue
		}
		r := limiter.ReserveN(now, min(n, limiter.Burst()))
		taken = append(taken, r)
		if wait := r.DelayFrom(now); wait > 0 {
			for _, r := range taken {
				r.CancelAt(now)
			}
			p := problem.New(problem.RateLimited, "the topic %s takes %v messages a second (topics.rate)", name, limiter.Limit())
			p.RetryAfter = jittered(wait)
			return p
		}
	}
	return nil
}
