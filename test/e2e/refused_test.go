package e2e

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"sync/atomic"
	"testing"
	"time"
)

// refusedSendBacks is the metric of those that the broker did not take.
var refusedSendBacks = regexp.MustCompile(`(?m)^remora_deliver_send_backs_total\{result="refused",subscription="refused-app"\} [1-9]`)

// TestRefusedSendBackIsHeld: a broker that may not be written takes nothing back, while
// one handler fails and another rejects: the offset does not pass what is held. When it
// may be written again the first is handled where it is held; the other, after a
// kill -9 too, becomes a dead letter.
func TestRefusedSendBackIsHeld(t *testing.T) {
	const topic, messages = "refused", 4 // the first and the last are answered 200
	ctx, facts := within(t, 4*time.Minute), newHistory()
	shared.CreateTopic(t, topic, 1)
	var mended atomic.Bool
	h := startHandler(t, facts, func(v *visit) answer {
		switch facts.numberOf(v.id) {
		case 1:
			if !mended.Load() {
				return status(http.StatusInternalServerError)
			}
		case 2:
			return status(http.StatusUnprocessableEntity)
		}
		return done
	})
	producing := newSidecar(t, "producing", nameServer(), "")
	// A wait that is longer than max_hold is not for us to wait: the message is sent back
	// at once.
	h.side = newSidecar(t, "consuming", nameServer(), fmt.Sprintf(
		"subscriptions: [{name: %s, topic: %s, handler: %q, max_hold: 2s, retry: {initial: 5s, max: 5s}, dedupe: {store: off}}]", groupOf(topic), topic, h.url(topic)))
	must(t, producing.Start())
	app := newProducer(producing, facts)
	t.Cleanup(app.close)
	for n := range messages {
		s := &spec{number: n, size: 10, wait: time.Minute}
		s.topic = topic
		must(t, app.post(ctx, job{s}))
	}

	broker := shared.Brokers[0]
	permit := func(permission string) { must(t, broker.UpdateConfig("brokerPermission", permission)) }
	permit("4")
	t.Cleanup(func() { permit("6") })
	must(t, h.side.Start())
	must(t, untilRefused(ctx, h.side))
	notPassed(ctx, t, map[queue]int64{{topic, 0}: 1})
	permit("6")
	mended.Store(true)
	must(t, facts.await(ctx, "what was held is handled", func() bool { return facts.n.handled == messages-1 }))

	must(t, h.side.Kill())
	must(t, h.side.Start())
	for {
		dead, err := broker.MaxOffset("%DLQ%"+groupOf(topic), 0)
		must(t, err)
		if dead == 1 {
			break
		}
		must(t, pause(ctx, 100*time.Millisecond))
	}
	must(t, h.side.Stop()) // pushes its offsets
	must(t, reach(ctx, map[queue]int64{{topic, 0}: messages}))
}

func untilRefused(ctx context.Context, s *sidecar) error {
	for {
		page, err := s.Get(ctx, s.Addresses().Health, "/metrics")
		if err != nil || refusedSendBacks.Match(page) {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("no send-back is refused: %w", err)
		}
	}
}

// numberOf is the number of a message that was accepted.
func (h *history) numberOf(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.accepted[id]; s != nil {
		return s.number
	}
	return -1
}
