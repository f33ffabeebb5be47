package ackgate

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
)

// Blocked is a message of an ordered subscription that is not done after a first
// turn, and that later ones of its ordering key wait for.
type Blocked struct {
	Subscription string    `json:"subscription"`
	OrderingKey  string    `json:"ordering_key"` // "": messages without one
	Queue        string    `json:"queue"`
	Offset       int64     `json:"offset"`
	MessageID    string    `json:"message_id"` // its identity
	Attempts     int       `json:"attempts"`
	Exhausted    bool      `json:"exhausted"` // no attempt is left, or the broker does not take the dead letter
	Since        time.Time `json:"since"`     // it was delivered
}

// blocks are the messages of a gate that block their ordering keys.
type blocks struct {
	mu  sync.Mutex
	all map[*held]Blocked
}

// Blocked tells which messages block their ordering keys, the oldest first. A gate
// that is not ordered has none.
func (g *Gate) Blocked() []Blocked {
	g.blocks.mu.Lock()
	defer g.blocks.mu.Unlock()
	list := make([]Blocked, 0, len(g.blocks.all))
	for _, b := range g.blocks.all {
		list = append(list, b)
	}
	sortBlocked(list)
	return list
}

// blocking notes that the message waits, and its key with it. What holds up the
// whole subscription, as a pause, is told elsewhere.
func (h *held) blocking() {
	if !h.g.o.Ordered {
		return
	}
	now := Blocked{
		Subscription: h.g.o.Subscription, OrderingKey: h.d.OrderingKey, Queue: h.d.Queue, Offset: h.d.Offset,
		MessageID: h.d.Identity, Attempts: h.d.Attempt - h.free + h.tries - 1, Since: h.since.UTC(), Exhausted: h.back != nil,
	}
	now.Attempts = max(now.Attempts, h.mark.Attempt)
	now.Exhausted = now.Exhausted || now.Attempts >= h.g.o.MaxAttempts
	h.g.blocks.mu.Lock()
	before, known := h.g.blocks.all[h]
	h.g.blocks.all[h] = now
	h.g.blocks.mu.Unlock()
	if !known {
		h.g.metrics.blocked.WithLabelValues(h.g.o.Subscription).Inc()
	}
	if now.Exhausted && !before.Exhausted && h.g.notices.due("blocked") {
		h.g.log.Error("message blocks its ordering key, and has had all its attempts", "message_id", now.MessageID, "ordering_key", now.OrderingKey,
			"queue", now.Queue, "offset", now.Offset, "attempts", now.Attempts, "since", now.Since)
	}
}

// unblock is the end of what blocking noted.
func (h *held) unblock() {
	if !h.g.o.Ordered {
		return
	}
	h.g.blocks.mu.Lock()
	b, known := h.g.blocks.all[h]
	delete(h.g.blocks.all, h)
	h.g.blocks.mu.Unlock()
	if !known {
		return
	}
	h.g.metrics.blocked.WithLabelValues(h.g.o.Subscription).Dec()
	if b.Exhausted && h.g.notices.due("unblocked") {
		h.g.log.Info("message does not block its ordering key any more", "message_id", b.MessageID, "ordering_key", b.OrderingKey, "blocked", time.Since(b.Since).Round(time.Second))
	}
}

// failedInOrder plans what follows an attempt that failed, where order is asked for: in
// the broker's custody the message would lose its place, so it waits here.
func (h *held) failedInOrder(attempt int, delay time.Duration, code string) time.Duration {
	switch {
	case attempt < h.g.o.MaxAttempts:
	case !h.g.o.Block:
		h.doom("out of attempts: "+code, attempt)
		return 0
	default:
		delay = max(delay, h.g.o.Retry.Delay(attempt, backoff.Random{}))
	}
	return delay
}

// spent reports whether the message may not be called for again.
func (h *held) spent() bool {
	return h.mark.Attempt > h.g.o.MaxAttempts && !(h.g.o.Ordered && h.g.o.Block)
}

// Blocked tells which messages of all gates block their ordering keys, the oldest
// first.
func (r *Leases) Blocked() []Blocked {
	r.mu.Lock()
	gates := slices.Collect(maps.Values(r.gates))
	r.mu.Unlock()
	var all []Blocked
	for _, g := range gates {
		all = append(all, g.Blocked()...)
	}
	sortBlocked(all)
	return all
}

func sortBlocked(list []Blocked) {
	slices.SortFunc(list, func(a, b Blocked) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Offset, b.Offset)) })
}
