package ackgate

import (
	"context"
	"errors"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/backoff"
)

// writeDone marks the key done.
func (g *Gate) writeDone(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	if !g.keeps(m) {
		return nil
	}
	return g.insist(ctx, func(ctx context.Context) error { return g.store.Done(ctx, k, m) })
}

// extendMark keeps others from the key while the application has the message.
func (g *Gate) extendMark(ctx context.Context, l *lease, d time.Duration) error {
	if !g.keeps(l.mark) {
		return nil
	}
	return g.insist(ctx, func(ctx context.Context) error { return g.store.Extend(ctx, l.key, l.mark, d+markMargin) })
}

// sayUnmarked tells of a message that is acked without its mark.
func (g *Gate) sayUnmarked(identity string, err error) {
	g.metrics.unmarked.WithLabelValues(g.o.Subscription).Inc()
	if g.notices.due("unmarked") {
		g.log.Error("handled, but not marked done: a repeat would reach the handler", "message_id", identity, "error", err)
	}
}

// insist tries to write down what already happened, also when ctx is done, until
// settleTimeout. The waits in between stay short, so that a store that is back
// before that is met.
func (g *Gate) insist(ctx context.Context, write func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	again := backoff.Policy{Initial: g.o.Probe.Initial, Max: settleAgain}
	for try := 1; ; try++ {
		err := write(ctx)
		final := err == nil || errors.Is(err, dedupe.ErrFenced) || errors.Is(err, dedupe.ErrClosed)
		if final || sleepUnless(ctx, max(again.Delay(try, backoff.Random{}), time.Millisecond), nil) != nil {
			return err
		}
	}
}
