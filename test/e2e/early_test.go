package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/test/binary"
	"github.com/remora-mq/remora/test/broken"
)

// TestEarlyAckIsFound: a sidecar that acks a message before its handler has answered
// is found by what [TestNotAckedBeforeIts200] and [TestNoEarlyAckAtAnyPosition] watch,
// and what it held is lost with it.
func TestEarlyAckIsFound(t *testing.T) {
	t.Parallel()
	const topic, messages = "early-ack", 3
	ctx, facts := within(t, 3*time.Minute), newHistory()
	kept := &held{ids: map[string]place{}, release: make(chan struct{})}
	shared.CreateTopic(t, topic, 1)
	producing := newSidecar(t, "producing", nameServer(), "")
	must(t, producing.Start())
	app := newProducer(producing, facts)
	t.Cleanup(app.close)
	for n := range messages {
		s := &spec{number: n, size: 10, wait: time.Minute}
		s.topic = topic
		must(t, app.post(ctx, job{s}))
	}
	first := facts.ids[0]
	kept.add(first, place{})

	h := startHandler(t, facts, kept.choose)
	subscribed := fmt.Sprintf("subscriptions:\n  - {name: %s, topic: %s, handler: %q, timeout: 10m, dedupe: {store: off}}", groupOf(topic), topic, h.url(topic))
	acksFirst, err := broken.Build(t.TempDir(), "acks-first", broken.Replaced("broker/rocketmq/ack.go",
		"	return a.receivers.receive(lasting, d)\n",
		"	go func() { _ = a.receivers.receive(lasting, d) }()\n	return nil\n"))
	must(t, err)
	h.side = &sidecar{binary.NewOf(t, acksFirst, "broken", configuration(nameServer(), subscribed))}
	must(t, h.side.Start())
	must(t, facts.await(ctx, "the kept one was called for", func() bool { return facts.calledFor(kept.ids, 1) }))
	for early := ""; early == ""; must(t, pause(ctx, 200*time.Millisecond)) {
		early, err = ackedEarly(map[queue]int64{{topic, 0}: 0})
		must(t, err)
	}

	must(t, h.side.Kill())
	second := newSidecar(t, "second", nameServer(), subscribed)
	h.side = second
	must(t, second.Start())
	late := &spec{number: messages, size: 10, wait: time.Minute}
	late.topic = topic
	must(t, app.post(ctx, job{late}))
	again, behind := false, map[string]place{facts.ids[messages]: {}}
	must(t, facts.await(ctx, "what came behind is called for", func() bool {
		again = facts.calledFor(kept.ids, 2)
		return facts.calledFor(behind, 1)
	}))
	if again {
		t.Error("what was acked early came again")
	}
	close(kept.release)
}
