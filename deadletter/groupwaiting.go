package deadletter

import (
	"context"
	"sync"
	"time"
)

// ages remembers when the first that waits in a queue died, so that it is read
// once.
type ages struct {
	mu sync.Mutex
	of map[string]age // by queue
}

type age struct {
	offset int64
	died   time.Time
}

// Waiting is how many wait, and since when the oldest of them; the zero time:
// none.
func (g *Group) Waiting(ctx context.Context) (n int64, oldest time.Time, err error) {
	places, err := g.look(ctx)
	if err != nil {
		return 0, oldest, err
	}
	for _, p := range places {
		count := p.waiting.Count()
		if n += count; count == 0 {
			continue
		}
		died, err := g.first(ctx, p)
		if err != nil {
			return n, oldest, err
		}
		if !died.IsZero() && (oldest.IsZero() || died.Before(oldest)) {
			oldest = died
		}
	}
	return n, oldest, nil
}

// first is when the first that waits in a queue died.
func (g *Group) first(ctx context.Context, p place) (time.Time, error) {
	g.ages.mu.Lock()
	defer g.ages.mu.Unlock()
	at := p.waiting.From()
	if known, ok := g.ages.of[p.queue]; ok && known.offset == at {
		return known.died, nil
	}
	some, _, err := g.dead.Read(ctx, p.queue, at, 1)
	if err != nil || len(some) == 0 {
		return time.Time{}, err
	}
	if g.ages.of == nil {
		g.ages.of = map[string]age{}
	}
	g.ages.of[p.queue] = age{at, some[0].DiedAt}
	return some[0].DiedAt, nil
}
