package ackgate

import (
	"context"
	"errors"

	"github.com/remora-mq/remora/dedupe"
)

// mayPass reports whether the handler may be called although the store could not
// be asked. Only a store that is down is passed by: nothing else says that asking
// again would not help, and a gate that ends asks nobody.
func (g *Gate) mayPass(ctx context.Context, err error) bool {
	return g.o.Pass && ctx.Err() == nil && errors.Is(err, dedupe.ErrUnavailable)
}

// keeps reports whether a store has the mark: not where there is none, nor where it
// was passed by, which leaves a mark without a token.
func (g *Gate) keeps(m dedupe.Mark) bool { return g.store != nil && m.Token != 0 }

// pass has the next call made without a mark. The handler is told: a repeat may
// reach it, and there will be none of what it answers.
func (h *held) pass(err error) {
	h.blind = true
	h.g.metrics.unchecked.WithLabelValues(h.g.o.Subscription).Inc()
	if h.g.notices.due("pass") {
		h.g.log.Error("dedupe store fails; the handler is called without a look-up, as configured", "message_id", h.d.Identity, "error", err)
	}
}
