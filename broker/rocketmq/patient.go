package rocketmq

import (
	"context"
	"time"
)

// claimedTime is below the 3 s that the library gives an answer, whatever it is
// told (producer/producer.go:358), and above what a dial may take.
const claimedTime = 2500 * time.Millisecond

// patient is a context that makes the library wait to its end. context.
// WithTimeout, with which the library sets its 3 s, sets no timer where the
// parent's deadline is sooner: so one is claimed that is, while Done and Err tell
// the truth. Without it a broker's FLUSH_SLAVE_TIMEOUT, by default after 3 s, is
// never seen, and a large message on a slow line never gets through.
type patient struct {
	context.Context
	claimed time.Time
}

func bePatient(ctx context.Context) context.Context {
	claimed := time.Now().Add(claimedTime)
	if real, ok := ctx.Deadline(); ok && real.Before(claimed) {
		return ctx
	}
	return patient{ctx, claimed}
}

// Deadline is what the library and its dialler see.
func (p patient) Deadline() (time.Time, bool) { return p.claimed, true }
