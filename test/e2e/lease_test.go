package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// leasing is an application that answers each call with 202. A test gets the calls
// and says what becomes of them.
type leasing struct {
	t     *testing.T
	s     *sidecar
	calls map[string]chan leasedCall // by body
}

type leasedCall struct{ id, attempt string }

func startLeasing(t *testing.T, bodies ...string) *leasing {
	t.Helper()
	a := &leasing{t: t, calls: map[string]chan leasedCall{}}
	for _, b := range bodies {
		a.calls[b] = make(chan leasedCall, 100)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sidecar was killed while it sent
		}
		w.Header().Set("MQ-Lease", "6s")
		w.WriteHeader(http.StatusAccepted)
		a.calls[string(body)] <- leasedCall{r.Header.Get("Mq-Delivery-Id"), r.Header.Get("Mq-Attempt")}
	}))
	t.Cleanup(server.Close)
	a.s = newSidecar(t, "sidecar", nameServer(), fmt.Sprintf(
		"subscriptions: [{name: leased-app, topic: leased, handler: %q, dedupe: {store: local}}]", server.URL))
	return a
}

func (a *leasing) next(ctx context.Context, body string) leasedCall {
	a.t.Helper()
	select {
	case c := <-a.calls[body]:
		return c
	case <-ctx.Done():
		a.t.Fatalf("no call for %q: %v", body, context.Cause(ctx))
		return leasedCall{}
	}
}

// post sends a request to the data listener and returns the status and the answer.
func (a *leasing) post(ctx context.Context, path, contentType, body string) (int, map[string]any) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.s.Addresses().Data[0]+path, strings.NewReader(body))
	must(a.t, err)
	req.Header.Set("Content-Type", contentType)
	res, err := http.DefaultClient.Do(req)
	must(a.t, err)
	defer res.Body.Close()
	var answer map[string]any
	must(a.t, json.NewDecoder(res.Body).Decode(&answer))
	return res.StatusCode, answer
}

// say says something of a delivery, and wants that answered so.
func (a *leasing) say(ctx context.Context, c leasedCall, what, body string, want int) map[string]any {
	a.t.Helper()
	status, answer := a.post(ctx, "/v1/deliveries/"+c.id+"/"+what, "application/json", body)
	if status != want {
		a.t.Fatalf("%s: %d %v, want %d", what, status, answer, want)
	}
	return answer
}

// TestLeasedIsNotAckedBeforeItsAck: of a message that was answered 202, the broker's
// offset stays where it is as long as its lease is extended, it comes again after a
// kill -9, and is done with its ack. A lease that ends gives the message to another
// delivery, at the cost of no attempt.
func TestLeasedIsNotAckedBeforeItsAck(t *testing.T) {
	const kept, lapses = "kept", "lapses"
	ctx := within(t, 3*time.Minute)
	createTopics(t, "leased")
	a := startLeasing(t, kept, lapses)
	must(t, a.s.Start())
	at := a.publish(ctx, kept)
	a.publish(ctx, lapses)
	first, lapsed := a.next(ctx, kept), a.next(ctx, lapses)
	for began := time.Now(); time.Since(began) < heldFor; {
		if given := a.say(ctx, first, "extend", `{"lease":"6s"}`, 200); given["state"] != "leased" {
			t.Fatalf("extended to %v", given)
		}
		if acked(t, at) {
			t.Fatal("the broker's offset passed a message that is not acked")
		}
		select {
		case again := <-a.calls[lapses]: // its lease has ended, and the broker has given it back
			if again.attempt != "1" {
				t.Errorf("a lease that ended cost an attempt: now it is attempt %s", again.attempt)
			}
			a.say(ctx, lapsed, "ack", "", 410)
			a.say(ctx, again, "ack", "", 200)
			a.say(ctx, again, "ack", "", 200)
			lapsed = again
		case <-time.After(time.Second):
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		}
		if len(a.calls[kept]) > 0 {
			t.Fatal("a leased message was delivered again")
		}
	}

	must(t, a.s.Kill())
	must(t, a.s.Start())
	again := a.next(ctx, kept)
	a.say(ctx, first, "ack", "", 404)
	a.say(ctx, again, "ack", "", 200)
	for !acked(t, at) {
		must(t, pause(ctx, 200*time.Millisecond))
	}
	if n := len(a.calls[kept]); n > 0 {
		t.Errorf("%d calls after the ack", n)
	}
}

// publish returns where the broker has the message.
func (a *leasing) publish(ctx context.Context, body string) place {
	a.t.Helper()
	status, answer := a.post(ctx, "/v1/topics/leased/messages?wait=30s", "text/plain", body)
	if status != http.StatusOK {
		a.t.Fatalf("publish: %d %v", status, answer)
	}
	at, err := (&producer{side: a.s, http: http.DefaultClient}).placeOf(fmt.Sprint(answer["id"]))
	must(a.t, err)
	return at
}

// acked reports whether the broker's offset has passed the message.
func acked(t *testing.T, at place) bool {
	t.Helper()
	offset, err := offsetOf(queue{"leased", at.queue})
	must(t, err)
	return offset > at.offset
}
