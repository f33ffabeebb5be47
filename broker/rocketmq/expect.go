package rocketmq

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/remora-mq/remora/message"
)

// Expect implements [broker.Halves].
func (h *Halves) Expect(p message.HalfPlace) {
	if !h.calls.enter() {
		return
	}
	defer h.calls.leave()
	if p.Known() {
		h.link(p.Broker, p.Topic, p.Group).know(p.Address)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.sought[p.Topic]; !known {
		h.sought[p.Topic] = true
		h.running.Go(func() { h.seek(h.ctx, p.Topic) })
	}
}

// seek registers with every broker that has a topic. It asks for them until they are
// told, or ctx is done.
func (h *Halves) seek(ctx context.Context, topic string) {
	for pause := relinkFirst; ctx.Err() == nil; pause = min(2*pause, relinkLast) {
		asking, cancel := context.WithTimeout(ctx, callTimeout)
		route, err := h.names.route(asking, topic)
		cancel()
		for _, b := range route.Brokers {
			h.link(b.Name, topic, h.options.Group)
		}
		h.mu.Lock()
		h.sought[topic] = err != nil && !errors.Is(err, errTopicNotExist) // who has no topic cannot ask
		h.mu.Unlock()
		if err == nil {
			return
		}
		h.log.Debug("it is not known which brokers may ask for decisions; it is tried again", "topic", topic, "error", err, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// Unreached implements [broker.Halves].
func (h *Halves) Unreached() (names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range slices.Sorted(maps.Keys(h.sought)) {
		if h.sought[topic] {
			names = append(names, "those of topic "+topic)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.links)) {
		if !h.links[name].registered() {
			names = append(names, name)
		}
	}
	return names
}
