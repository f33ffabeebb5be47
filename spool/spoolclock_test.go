package spool_test

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/spool"
)

// A delay, or a TTL, takes as long when the wall clock was set before a restart.
func TestDelaysAreNotShortenedByAWallClockThatWasSet(t *testing.T) {
	for _, set := range []time.Duration{5 * time.Hour, -5 * time.Hour} {
		wall, elapsed := newClock(), newClock()
		opts := spool.Options{Now: wall.now}
		began := elapsed.now()
		opts.Elapsed = func() time.Duration { return elapsed.now().Sub(began) }
		r := newRig(t, opts)
		pass := func(d time.Duration) {
			wall.advance(d)
			elapsed.advance(d)
		}
		r.accept(after(draft("t", "x"), 10*time.Hour), mortal(draft("u", "y"), 10*time.Hour))
		pass(time.Hour)
		wall.advance(set)
		r.accept(draft("u", "which notes the time"))
		r.close()
		wall.advance(time.Minute) // while it is down
		began = elapsed.now()
		r.open()
		pass(9*time.Hour - 2*time.Minute)
		r.awaitDelayed(1)
		r.awaitDead(0)
		pass(time.Minute)
		r.awaitDelayed(0)
		r.awaitDead(1)
	}
}
