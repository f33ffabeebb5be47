package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// take waits for a message that the group may have.
func (b *Broker) take(ctx context.Context, g *group) (*lane, int64, error) {
	for {
		b.mu.Lock()
		var l *lane
		var offset int64
		ok := false
		if ctx.Err() == nil && !b.down {
			l, offset, ok = g.take()
		}
		wake := g.wake
		b.mu.Unlock()
		if ok {
			return l, offset, nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// finish notes that the group is done with an offset, in memory at once and on
// disk soon.
func (b *Broker) finish(g *group, l *lane, offset int64, acked bool) {
	b.mu.Lock()
	wasFull, low := l.full(), l.low
	if turned := l.finish(offset, acked); turned || wasFull && !l.full() {
		g.notify()
	}
	flush := l.low > low && !b.flushing
	if l.low > low {
		b.catalog.unflushed[l.track] = struct{}{}
		b.flushing = true
	}
	b.mu.Unlock()
	if flush {
		b.queue.Post(flushOp{}, metaSize)
	}
}

// release lets any consumer of the group have the offset again.
func (b *Broker) release(h *handle) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h.lane.release(h.offset)
	h.group.notify()
}

// hold waits a moment before it releases.
func (b *Broker) hold(ctx context.Context, h *handle) {
	timer := time.NewTimer(holdAfterError)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	b.release(h)
}

// noteLost counts a message that cannot be read and names it, once.
func (b *Broker) noteLost(key []byte, err error) {
	if errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrFenced) {
		return // the storage is gone, not the message
	}
	b.mu.Lock()
	_, known := b.unreadable[string(key)]
	b.unreadable[string(key)] = struct{}{}
	b.mu.Unlock()
	if !known {
		b.log.Error("message is unreadable and stays where it is", "key", fmt.Sprintf("%q", key), "error", err)
	}
}
