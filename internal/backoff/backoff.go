package backoff

import (
	"math/rand/v2"
	"time"
)

// Rand is the randomness a jitter needs; *math/rand/v2.Rand has it.
type Rand interface {
	// Int64N returns a number in [0, n); n is > 0.
	Int64N(n int64) int64
}

// Random is the process's own randomness. It may be used by many goroutines.
type Random struct{}

// Int64N implements Rand.
func (Random) Int64N(n int64) int64 { return rand.Int64N(n) }

// Policy is an exponential backoff that doubles from Initial up to Max.
//
// The zero Policy never waits. An Initial above Max is cut to Max.
type Policy struct {
	// Initial bounds the wait after the first attempt; ≤ 0 means no wait.
	Initial time.Duration
	// Max bounds every wait; ≤ 0 means that Initial is never exceeded.
	Max time.Duration
}

// Delay returns the wait after the given attempt has failed, counted from 1:
// at least half of Ceiling(attempt) and at most all of it ("equal jitter").
// The lower half is kept so that a retry never comes at once: here a wait
// protects a broker or an application that is already in trouble.
func (p Policy) Delay(attempt int, rnd Rand) time.Duration {
	ceiling := p.Ceiling(attempt)
	floor := ceiling / 2
	spread := ceiling - floor
	if spread <= 0 {
		return 0
	}
	return floor + time.Duration(rnd.Int64N(int64(spread)+1))
}

// Ceiling returns the longest wait after the given attempt: Initial doubled
// attempt-1 times and bounded by Max. Attempts below 1 count as 1.
func (p Policy) Ceiling(attempt int) time.Duration {
	limit := p.Max
	if limit <= 0 {
		limit = p.Initial
	}
	wait := min(p.Initial, limit)
	if wait <= 0 {
		return 0
	}
	for n := 1; n < attempt && wait < limit; n++ {
		wait = double(wait, limit)
	}
	return wait
}

// double returns 2·wait bounded by limit, without overflowing on the way.
func double(wait, limit time.Duration) time.Duration {
	if wait > limit/2 {
		return limit
	}
	return wait * 2
}
