package ackgate

import (
	"context"
	"sync"
)

// graces are contexts that end Grace after those of deliveries. Calls of one
// delivering context, which are nearly all that run at a time, share theirs.
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
		one = g.newGrace(ctx)
		all.of[ctx] = one
	}
	one.calls++
	return one.ctx, func() { all.leave(ctx, one) }
}

func (g *Gate) newGrace(ctx context.Context) *grace {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	left := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer cancel()
		_ = sleepUnless(later, g.o.Grace, left) // later is not done before
	})
	return &grace{ctx: later, end: func() { stop(); close(left) }}
}

func (all *graces) leave(ctx context.Context, one *grace) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if one.calls--; one.calls == 0 {
		delete(all.of, ctx)
		one.end()
	}
}
