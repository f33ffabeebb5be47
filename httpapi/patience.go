package httpapi

import (
	"context"
	"sync/atomic"
	"time"
)

// patience gives contexts that end after a time. Those who ask within an eighth
// of it share one: one for each request, with its timer, cost five
// allocations. The clock says whether that eighth is over, not a timer: after a pause
// of the process requests may run before any timer does, and would be given a context
// with no time left.
type patience struct {
	parent context.Context //nolint:containedctx // of those that are given
	most   time.Duration

	now atomic.Pointer[shared] // nil: none was given yet
}

// shared is a context, and until when it is given.
type shared struct {
	ctx   context.Context //nolint:containedctx // this is a cache of one
	until time.Time
}

// context ends after most, or up to an eighth of it earlier.
func (p *patience) context() context.Context {
	last := p.now.Load()
	if last != nil && time.Until(last.until) > 0 {
		return last.ctx
	}
	until := time.Now().Add(p.most / 8)
	ctx, end := context.WithTimeout(p.parent, p.most)
	context.AfterFunc(ctx, end)
	p.now.CompareAndSwap(last, &shared{ctx, until})
	return ctx
}
