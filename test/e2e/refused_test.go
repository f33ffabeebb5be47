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
var refusedSendBacks = regexp.MustCompile(`(?m)^remora_deliver_send_backs_total\{result="refused",subscription="[a-z-]+"\} [1-9]`)

// saysRefused is the condition, with the subscription and how many are held for it.
var saysRefused = regexp.MustCompile(`\{"name":"send-back-refused","is":true,[^}]*"([a-z-]+: [0-9]+) of its messages are held`)

// TestRefusedSendBackIsHeld: a broker that may not be written takes nothing back, while
// one handler fails and another rejects: the offset does not pass what is held, and the
// condition says so. When it may be written again the first is handled where it is held; the
// other, after a kill -9 too, becomes a dead letter, and nothing is said any more.
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
	must(t, untilSaid(ctx, h.side, groupOf(topic)+": 2"))
	notPassed(ctx, t, map[queue]int64{{topic, 0}: 1})
	permit("6")
	mended.Store(true)
	must(t, facts.await(ctx, "what was held is handled", func() bool { return facts.n.handled == messages-1 }))
	must(t, untilSaid(ctx, h.side, groupOf(topic)+": 1"))

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
	must(t, untilSaid(ctx, h.side, ""))
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

// untilSaid waits until the condition tells of a subscription, and how many of its
// messages are held; "": until it is not shown.
func untilSaid(ctx context.Context, s *sidecar, want string) error {
	for {
		page, err := s.Get(ctx, s.Addresses().Health, "/readyz?verbose")
		if err != nil {
			return err
		}
		said := ""
		if found := saysRefused.FindSubmatch(page); found != nil {
			said = string(found[1])
		}
		if said == want {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("send-back-refused tells of %q, want %q: %w", said, want, err)
		}
	}
}

// TestOperatorHasWhatIsRefusedHandled: a dead letter that no broker takes is held, and
// called for no more. When an operator has the handler called again, which is mended, it is
// handled and acked, and the condition ends: while the broker takes nothing yet.
func TestOperatorHasWhatIsRefusedHandled(t *testing.T) {
	const topic = "recalled"
	ctx, facts := within(t, 4*time.Minute), newHistory()
	shared.CreateTopic(t, topic, 1)
	var mended atomic.Bool
	h := startHandler(t, facts, func(*visit) answer {
		if mended.Load() {
			return done
		}
		return status(http.StatusUnprocessableEntity)
	})
	producing := newSidecar(t, "producing", nameServer(), "")
	h.side = newSidecar(t, "consuming", nameServer(), fmt.Sprintf(
		"subscriptions: [{name: %s, topic: %s, handler: %q, dedupe: {store: off}}]", groupOf(topic), topic, h.url(topic)))
	must(t, producing.Start())
	app := newProducer(producing, facts)
	t.Cleanup(app.close)
	s := &spec{size: 10, wait: time.Minute}
	s.topic = topic
	must(t, app.post(ctx, job{s}))

	permit := func(permission string) { must(t, shared.Brokers[0].UpdateConfig("brokerPermission", permission)) }
	permit("4")
	t.Cleanup(func() { permit("6") })
	must(t, h.side.Start())
	must(t, untilSaid(ctx, h.side, groupOf(topic)+": 1"))
	mended.Store(true)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.side.Addresses().Admin+"/v1/subscriptions/"+groupOf(topic)+"/retry", http.NoBody)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	must(t, res.Body.Close())
	if res.StatusCode != http.StatusOK {
		t.Fatalf("retry is answered %d", res.StatusCode)
	}
	must(t, facts.await(ctx, "what is held is handled", func() bool { return facts.n.handled == 1 }))
	must(t, untilSaid(ctx, h.side, ""))
	must(t, h.side.Stop()) // pushes its offsets
	must(t, reach(ctx, map[queue]int64{{topic, 0}: 1}))
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
