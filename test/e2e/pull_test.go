package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"
)

// puller is an application without a server.
type puller struct {
	t *testing.T
	s *sidecar
}

type pulledMessage struct {
	ID      string
	Message struct {
		Body    []byte `json:"body_base64"`
		Attempt int
	}
}

// ask posts JSON to the data listener; question and answer may be nil.
func (p *puller) ask(ctx context.Context, path string, question, answer any) (status int) {
	p.t.Helper()
	var body bytes.Buffer
	if question != nil {
		must(p.t, json.NewEncoder(&body).Encode(question))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.s.Addresses().Data[0]+path, &body)
	must(p.t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Close = true
	res, err := http.DefaultClient.Do(r)
	must(p.t, err)
	defer res.Body.Close()
	if answer != nil && res.StatusCode == http.StatusOK {
		must(p.t, json.NewDecoder(res.Body).Decode(answer))
	}
	return res.StatusCode
}

// take receives batches until it has n messages, by their bodies.
func (p *puller) take(ctx context.Context, n int, lease string) map[string]pulledMessage {
	p.t.Helper()
	all := map[string]pulledMessage{}
	for len(all) < n {
		var got struct{ Deliveries []pulledMessage }
		status := p.ask(ctx, "/v1/subscriptions/"+groupOf(pulledTopic)+"/receive", map[string]any{"max": n - len(all), "wait": "20s", "lease": lease}, &got)
		if status != http.StatusOK && status != http.StatusNoContent {
			p.t.Fatalf("receive: %d", status)
		}
		for _, m := range got.Deliveries {
			all[string(m.Message.Body)] = m
		}
	}
	return all
}

// say says something of a delivery.
func (p *puller) say(ctx context.Context, m pulledMessage, what string, body any) {
	p.t.Helper()
	if status := p.ask(ctx, "/v1/deliveries/"+m.ID+"/"+what, body, nil); status != http.StatusOK {
		p.t.Fatalf("%s of %s: %d", what, m.Message.Body, status)
	}
}

const pulledTopic = "pulled"

// TestPulledIsNotAckedBeforeItsAck: messages are pulled in batches. Those that are
// acked do not come again, one that is given back does, and those that are leased, of
// which one is extended all the while, hold the broker's offset. After a kill -9 of the
// sidecar these come again, and no others; when they are acked the group is at the end.
func TestPulledIsNotAckedBeforeItsAck(t *testing.T) {
	t.Parallel()
	const messages = 12
	ctx := within(t, 3*time.Minute)
	shared.CreateTopic(t, pulledTopic, 1)
	p := &puller{t, newSidecar(t, "pulled from", nameServer(), fmt.Sprintf(
		"subscriptions: [{name: %[1]s, topic: %[2]s, retry: {initial: 100ms, max: 1s}, dedupe: {store: local}}]", groupOf(pulledTopic), pulledTopic))}
	must(t, p.s.Start())
	var bodies []string
	for i := range messages {
		bodies = append(bodies, fmt.Sprintf("%02d", i))
	}
	publishAll(ctx, t, p.s, pulledTopic, bodies...)

	first := p.take(ctx, messages, "4s")
	leased := map[string]bool{bodies[3]: true, bodies[7]: true, bodies[11]: true}
	back := bodies[5]
	for body, m := range first {
		switch {
		case body == back:
			p.say(ctx, m, "nack", map[string]any{"delay": "0s"})
		case !leased[body]:
			p.say(ctx, m, "ack", nil)
		}
	}
	again := p.take(ctx, 1, "60s")
	if m, is := again[back]; !is || m.Message.Attempt != 2 {
		t.Fatalf("after the nack of %s: %+v", back, again)
	}
	p.say(ctx, again[back], "ack", nil)

	// The offset comes as far as the first that is leased, so what was acked before it
	// is known to the broker.
	one := queue{pulledTopic, 0}
	for began := time.Now(); time.Since(began) < 7*time.Second || !isAt(map[queue]int64{one: 3}); {
		wantOffsets(t, map[queue]int64{one: 3})
		for body := range leased {
			p.say(ctx, first[body], "extend", map[string]any{"lease": "4s"})
		}
		must(t, pause(ctx, 500*time.Millisecond))
	}
	must(t, p.s.Kill())
	must(t, p.s.Start())
	came := p.take(ctx, len(leased), "60s")
	if got := slices.Sorted(maps.Keys(came)); !slices.Equal(got, slices.Sorted(maps.Keys(leased))) {
		t.Fatalf("after the kill %v came, %v were leased", got, leased)
	}
	wantOffsets(t, map[queue]int64{one: 3})
	for _, m := range came {
		if m.Message.Attempt < 2 {
			t.Errorf("%s came again as attempt %d", m.Message.Body, m.Message.Attempt)
		}
		p.say(ctx, m, "ack", nil)
	}
	// What was acked before the kill, and not yet told to the broker, comes again and is
	// known: it is not handed over.
	if status := p.ask(ctx, "/v1/subscriptions/"+groupOf(pulledTopic)+"/receive", map[string]any{"max": messages, "wait": "2s"}, nil); status != http.StatusNoContent {
		t.Errorf("after all acks there is more: %d", status)
	}
	must(t, p.s.Stop()) // pushes its offsets
	must(t, reach(ctx, map[queue]int64{one: messages}))
}
