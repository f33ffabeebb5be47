package sidecar_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/remora-mq/remora/config"
)

type pulledMessage struct {
	ID      string `json:"id"`
	Message struct {
		Body    []byte `json:"body_base64"`
		Attempt int    `json:"attempt"`
	} `json:"message"`
}

// ask sends JSON to the data listener.
func (r *running) ask(path, body string, answer any) (status int) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.side.Addresses().Data[0]+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && answer != nil && len(text) > 0 {
		err = json.Unmarshal(text, answer)
	}
	if err != nil {
		r.t.Fatalf("%s: %v: %s", path, err, text)
	}
	return res.StatusCode
}

// receive pulls one message, and waits for it.
func (r *running) receive(lease string) pulledMessage {
	r.t.Helper()
	var got struct{ Deliveries []pulledMessage }
	status := r.ask("/v1/subscriptions/pulled/receive", `{"max":1,"wait":"30s","lease":"`+lease+`"}`, &got)
	if status != 200 || len(got.Deliveries) != 1 {
		r.t.Fatalf("receive: %d, %d messages", status, len(got.Deliveries))
	}
	return got.Deliveries[0]
}

// TestPulling: an application without a server gets a message, gives it back, lets
// a lease end, and acks; what it had leased when the sidecar stopped comes again,
// and what it acked does not.
func TestPulling(t *testing.T) {
	c := embedded(t)
	c.Drain.Timeout = 5 * config.Second // half of which what is leased is waited for
	c.Subscriptions = []config.Subscription{{Name: "pulled", Topic: "orders", Retry: config.SubscriptionRetry{Initial: 10 * config.Millisecond, Max: config.Second}}}
	r := start(t, c)
	r.post("orders", "one", "wait=60")
	first := r.receive("60s")
	if string(first.Message.Body) != "one" || first.Message.Attempt != 1 {
		t.Errorf("pulled %q, attempt %d", first.Message.Body, first.Message.Attempt)
	}
	if status := r.ask("/v1/deliveries/"+first.ID+"/nack", `{"delay":"0s"}`, nil); status != 200 {
		t.Errorf("nack: %d", status)
	}
	second := r.receive("1s") // ends without a word
	third := r.receive("60s")
	if second.Message.Attempt != 2 || third.Message.Attempt != 3 {
		t.Errorf("attempts %d and %d, want 2 and 3", second.Message.Attempt, third.Message.Attempt)
	}
	if status := r.ask("/v1/deliveries/"+second.ID+"/ack", "", nil); status != 410 {
		t.Errorf("ack of a lease that another one followed: %d", status)
	}
	if status := r.ask("/v1/deliveries/"+third.ID+"/ack", "", nil); status != 200 {
		t.Errorf("ack: %d", status)
	}
	r.post("orders", "two", "wait=60")
	if held := r.receive("60s"); string(held.Message.Body) != "two" {
		t.Errorf("pulled %q", held.Message.Body)
	}

	if err := r.end(); err != nil {
		t.Error(err)
	}

	r = start(t, c)
	if status := r.ask("/v1/deliveries/"+third.ID+"/ack", "", nil); status != 404 {
		t.Errorf("ack of before the restart: %d", status)
	}
	again := r.receive("60s")
	if string(again.Message.Body) != "two" {
		t.Errorf("after the restart came %q", again.Message.Body)
	}
	if status := r.ask("/v1/deliveries/"+again.ID+"/ack", "", nil); status != 200 {
		t.Errorf("ack: %d", status)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestCallersThatHangUpCostNothing: clients that give up waiting, more of them than
// a message has attempts, leave it to the one that stays.
func TestCallersThatHangUpCostNothing(t *testing.T) {
	c := embedded(t)
	c.Subscriptions = []config.Subscription{{Name: "pulled", Topic: "orders", Retry: config.SubscriptionRetry{MaxAttempts: 3}}}
	r := start(t, c)
	const wish = `{"wait":"20s","lease":"10m"}`
	for range 5 {
		caller, err := net.Dial("tcp", r.side.Addresses().Data[0])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(caller, "POST /v1/subscriptions/pulled/receive HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(wish), wish)
		_ = caller.Close()
	}
	r.post("orders", "one", "wait=60")
	got := r.receive("60s")
	if string(got.Message.Body) != "one" || got.Message.Attempt != 1 {
		t.Errorf("pulled %q, attempt %d", got.Message.Body, got.Message.Attempt)
	}
	if status := r.ask("/v1/deliveries/"+got.ID+"/ack", "", nil); status != 200 {
		t.Errorf("ack: %d", status)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
