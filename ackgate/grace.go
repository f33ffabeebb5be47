package ackgate

import (
	"context"
	"sync"
)

// graces are contexts that end Grace after those of deliveries. Calls of one
// delivering context, which are nearly all, share theirs. One that has no call is kept
// for the next one, until its delivering context is done or another one has calls.
type graces struct {
	mu sync.Mutex
	of map[context.Context]*grace
}

type grace struct {
	ctx   context.Context
	end   func() // ctx does not end any more
	calls int
}

// graceful ends Grace after ctx. Its end is leave, once.
func (g *Gate) graceful(ctx context.Context) (later context.Context, leave func()) {
	all := &g.graces
	all.mu.Lock()
	defer all.mu.Unlock()
	one := all.of[ctx]
	if one == nil {
		all.dropUnused()
		one = g.newGrace(ctx)
		all.of[ctx] = one
	}
	one.calls++
	return one.ctx, func() { all.leave(ctx, one) }
}

func (g *Gate) newGrace(ctx context.Context) *grace {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	left := make(chan struct{})
	one := &grace{ctx: later}
	stop := context.AfterFunc(ctx, func() {
		defer cancel()
		g.graces.drop(ctx, one)
		_ = sleepUnless(later, g.o.Grace, left) // later is not done before
	})
	one.end = func() { stop(); close(left) }
	return one
}

func (all *graces) leave(ctx context.Context, one *grace) {
	all.mu.Lock()
	one.calls--
	all.mu.Unlock()
	if ctx.Err() != nil {
		all.drop(ctx, one)
	}
}

// drop lets go of a grace that has no calls.
func (all *graces) drop(ctx context.Context, one *grace) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if one.calls == 0 && all.of[ctx] == one {
		delete(all.of, ctx)
		one.end()
	}
}

// dropUnused lets go of those that have no calls. mu is held.
func (all *graces) dropUnused() {
	for ctx, one := range all.of {
		if one.calls == 0 {
			delete(all.of, ctx)
			one.end()
		}
	}
}
