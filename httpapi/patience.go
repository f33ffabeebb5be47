package httpapi

import (
	"context"
	"sync/atomic"
	"time"
)

// patience gives contexts that end after a time. Those who ask within an eighth
// of it share one: one for each request, with its timer, cost five
// allocations. Nobody looks at a clock to see whether that eighth is over: a timer
// takes the context away.
type patience struct {
	parent context.Context //nolint:containedctx // of those that are given
	most   time.Duration

	now atomic.Pointer[context.Context] // the one that is given; nil: a new one has to be made
}

// context ends after most, or up to an eighth of it earlier.
func (p *patience) context() context.Context {
	if shared := p.now.Load(); shared != nil {
		return *shared
	}
	ctx, end := context.WithTimeout(p.parent, p.most)
	context.AfterFunc(ctx, end)
	if p.now.CompareAndSwap(nil, &ctx) {
		time.AfterFunc(p.most/8, func() { p.now.Store(nil) })
	}
	return ctx
}
