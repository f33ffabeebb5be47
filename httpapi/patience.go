package httpapi

import (
	"context"
	"sync"
	"time"
)

// patience gives contexts that end after a time. Those who ask within an eighth
// of it share one: one for each request, with its timer, cost five
// allocations.
type patience struct {
	parent context.Context //nolint:containedctx // of those that are given
	most   time.Duration

	mu    sync.Mutex
	now   context.Context //nolint:containedctx // the one that is given
	until time.Time       // nobody is given it after
}

// context ends after most, or up to an eighth of it earlier.
func (p *patience) context(now time.Time) context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.After(p.until) {
		ctx, end := context.WithDeadline(p.parent, now.Add(p.most))
		context.AfterFunc(ctx, end)
		p.now, p.until = ctx, now.Add(p.most/8)
	}
	return p.now
}
