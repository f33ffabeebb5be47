package ackgate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/broker"
)

const (
	// busyLong is how long a broker has no time for a message before that is told: a
	// busy moment is nothing to look at.
	busyLong = 10 * time.Second
	// refusalMost bounds what is shown of a broker's words, in bytes.
	refusalMost = 300
)

// refusals are the messages that a broker was asked to take back, and did not. They are
// held, and what they wait for may be an operator. Methods may be called from many
// goroutines.
type refusals struct {
	gauge prometheus.Gauge // 1 while there are any

	mu    sync.Mutex
	of    map[*held]struct{}
	since time.Time // of the first of them
	last  string    // the broker's words
}

func newRefusals(gauge prometheus.Gauge) *refusals {
	return &refusals{gauge: gauge, of: map[*held]struct{}{}}
}

// add counts a message that was refused for a reason; ErrNotAsked is none of the
// broker's.
func (r *refusals) add(h *held, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !errors.Is(why, broker.ErrNotAsked) || r.last == "" {
		r.last = inShort(why.Error())
	}
	r.join(h)
}

// follow counts a message that waits because others were refused.
func (r *refusals) follow(h *held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.of) > 0 {
		r.join(h)
	}
}

func (r *refusals) join(h *held) {
	if len(r.of) == 0 {
		r.since = time.Now()
		r.gauge.Set(1)
	}
	if h.recalled == nil {
		h.recalled = make(chan struct{}, 1)
	}
	r.of[h] = struct{}{}
}

// recall tells all of them, and how many they are.
func (r *refusals) recall() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h := range r.of {
		select {
		case h.recalled <- struct{}{}:
		default: // it has been told
		}
	}
	return len(r.of)
}

// Recall has the handler called once more, at once, for each message that a broker was to
// take back and did not: also for one that was to be a dead letter. It returns how many
// they are. What the handler does not take is held as before.
func (g *Gate) Recall() int { return g.refusals.recall() }

// isRecalled reports whether it is to be called for, and not the broker asked.
func (h *held) isRecalled() bool {
	select {
	case <-h.recalled:
		h.again = true
	default:
	}
	return h.again
}

// rest returns when the next turn is due; else ctx's error.
func (h *held) rest(ctx context.Context, wait time.Duration) error {
	recalled, err := sleepUnlessTold(ctx, wait, h.acked(), h.recalled)
	h.again = h.again || recalled
	return err
}

// leave lets go of a message that is settled, or was not refused.
func (r *refusals) leave(h *held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, is := r.of[h]; !is {
		return
	}
	if delete(r.of, h); len(r.of) == 0 {
		r.last = ""
		r.gauge.Set(0)
	}
}

// tell is the cause, while messages are held for it.
func (r *refusals) tell() (why HeldUp, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.of)
	if n == 0 {
		return HeldUp{}, false
	}
	return HeldUp{Refused, r.since, fmt.Sprintf("%d of its messages are held, because a broker does not take them back; the last one: %s", n, r.last)}, true
}

// inShort is one line of at most refusalMost bytes, of what may be a stack of Java.
func inShort(words string) string {
	words, _, _ = strings.Cut(words, "\n")
	if len(words) > refusalMost {
		words = strings.ToValidUTF8(words[:refusalMost], "") + "…"
	}
	return words
}

// refused notes that the broker did not take the message, and that it is held.
func (h *held) refused(ctx context.Context, err error) {
	h.g.metrics.sendBacks.WithLabelValues(h.g.o.Subscription, "refused").Inc()
	if ctx.Err() != nil {
		return
	}
	if h.refusedAt.IsZero() {
		h.refusedAt = time.Now()
	}
	if !errors.Is(err, broker.ErrBusy) || time.Since(h.refusedAt) >= busyLong {
		h.g.refusals.add(h, err)
	}
	if h.g.notices.due("send back") {
		h.g.log.Error("broker does not take a message back; it is held, and retried here",
			"message_id", h.d.Identity, "queue", h.d.Queue, "dead_letter", h.back.DeadLetter, "error", err)
	}
}
