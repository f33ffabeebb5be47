package ackgate

import (
	"context"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/seen"
)

// Notes keep which messages were handled, by their origin and number; a
// *seen.Stream. Methods may be called from many goroutines.
type Notes interface {
	// Handled is called before the dedupe mark says so: what is on stable storage
	// with the mark has its note there.
	Handled(origin message.SpoolID, number uint64)
	// Ended is called before the broker is told of a repeat, or when it has a dead
	// letter. After an error the message is acked all the same.
	Ended(ctx context.Context, origin message.SpoolID, number uint64, how seen.How) error
}

// number is what a message is known by at its producer; 0: it has none.
type number struct {
	origin message.SpoolID
	n      uint64
}

func numberOf(d *message.Delivery) number {
	if d.ID.IsZero() {
		return number{}
	}
	return number{d.ID.Spool(), d.TopicSeq}
}

func (g *Gate) noteHandled(n number) {
	if g.o.Notes != nil && n.n > 0 {
		g.o.Notes.Handled(n.origin, n.n)
	}
}

// noteEnd notes what was acked without a word of the application.
func (g *Gate) noteEnd(ctx context.Context, d *message.Delivery, why reason) {
	var how seen.How
	switch why {
	case repeat:
		how = seen.Repeated
	case deadLetter:
		how = seen.Dead
	case notYet, handled, sentBack:
		return
	}
	n := numberOf(d)
	if g.o.Notes == nil || n.n == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := g.o.Notes.Ended(ctx, n.origin, n.n, how); err != nil && g.notices.due("note") {
		g.log.Warn("a message is acked without a note of it; a comparison will not find it", "message_id", d.Identity, "reason", string(why), "error", err)
	}
}
