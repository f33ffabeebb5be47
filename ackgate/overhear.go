package ackgate

import (
	"context"
	"errors"
	"sync"

	"github.com/remora-mq/remora/push"
)

// listeners wait for answers that come after the time of their calls. There are at
// most as many as calls.
type listeners struct {
	ctx     context.Context // done: nobody listens any more
	stop    context.CancelFunc
	places  chan struct{} // has one for each that listens, or may
	running sync.WaitGroup
}

func newListeners(most int) *listeners {
	ctx, cancel := context.WithCancel(context.Background())
	return &listeners{ctx: ctx, stop: cancel, places: make(chan struct{}, most)}
}

// reserve takes a place, to be left; false: there is none.
func (l *listeners) reserve() bool {
	select {
	case l.places <- struct{}{}:
		return true
	default:
		return false
	}
}

func (l *listeners) leave() { <-l.places }

// end cuts off those who listen, and waits for them. No call is made any more.
func (l *listeners) end() {
	l.stop()
	l.running.Wait()
}

// overhear waits for the late answer of the last call, as long as a 200 would still
// count: until the next call of the message, and MaxHold at most. It has a place.
func (h *held) overhear(late func(context.Context) push.Answer) {
	l, g := h.lease, h.g
	ctx, cancel := context.WithTimeout(g.late.ctx, g.o.MaxHold)
	h.deafen = cancel
	g.late.running.Go(func() {
		defer g.late.leave()
		defer cancel()
		if a := late(ctx); a.Disposition != push.Done {
			return
		}
		switch _, err := l.ack(ctx); {
		case errors.Is(err, ErrLeaseExpired): // another delivery has begun
		case err != nil:
			g.log.Warn("a 200 came late and is not recorded; the message is called again", "message_id", l.identity, "error", err)
		}
	})
}

// hearNoMore ends the listening to the last call.
func (h *held) hearNoMore() {
	if h.deafen != nil {
		h.deafen()
		h.deafen = nil
	}
}
