package httpapi_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/remora-mq/remora/api"
	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// publishOne returns the ID and the path of a new message.
func publishOne(t *testing.T, l *listener) (message.ID, string) {
	t.Helper()
	a := l.do("POST", orders, "x")
	l.accepted(a)
	id, err := message.ParseID(a.json["id"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return id, a.header.Get("Location")
}

func TestReceiptTellsTheStory(t *testing.T) {
	l := start(t, httpapi.Options{})
	id, path := publishOne(t, l)
	at := time.Date(2026, 1, 2, 3, 4, 6, 0, time.FixedZone("", 3600))
	l.spool.change(id, func(r *message.Receipt) {
		r.State, r.Attempts, r.LastError, r.NextAttemptAt = message.StateRetrying, 30, "timeout", at
		for range 30 {
			r.History.Add(message.Event{At: at, Name: "attempt", Outcome: message.OutcomeUnknown, Detail: "timeout"})
		}
	})
	a := l.do("GET", strings.ToLower(path[:13])+strings.ToLower(path[13:]), "")
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	for member, want := range map[string]any{
		"state": "retrying", "attempts": 30.0, "last_error": "timeout", "next_attempt_at": "2026-01-02T02:04:06.000Z",
		"history_skipped": 15.0, "stored": true, "confirmed": false, "settled_at": nil, "maybe_delivered": nil,
	} {
		if a.json[member] != want {
			t.Errorf("%s = %v, want %v", member, a.json[member], want)
		}
	}
	history, _ := a.json["history"].([]any)
	if len(history) != 16 || fmt.Sprint(history[0]) != "map[at:2026-01-02T03:04:05.678Z event:accepted]" ||
		fmt.Sprint(history[15]) != "map[at:2026-01-02T02:04:06.000Z detail:timeout event:attempt outcome:unknown]" {
		t.Errorf("history: %v", history)
	}
}

func TestReceiptOfASettledMessage(t *testing.T) {
	l := start(t, httpapi.Options{})
	id, path := publishOne(t, l)
	l.spool.confirm(id)
	a := l.do("GET", path, "")
	broker, _ := a.json["broker"].(map[string]any)
	if a.json["confirmed"] != true || a.json["stored"] != true || a.json["settled_at"] != "2026-01-02T03:04:06.678Z" ||
		broker["queue"] != "broker-a/3" || broker["offset"] != 42.0 || broker["offset_message_id"] == "" {
		t.Errorf("answered %s", a.raw)
	}
	dead, path := publishOne(t, l)
	l.spool.change(dead, func(r *message.Receipt) { r.State, r.MaybeSent = message.StateDead, true })
	if a := l.do("GET", path, ""); a.json["maybe_delivered"] != true || a.json["stored"] != true {
		t.Errorf("a dead letter that may have been sent: %s", a.raw)
	}
}

func TestUnknownMessages(t *testing.T) {
	l := start(t, httpapi.Options{})
	for path, stored := range map[string]any{
		"/v1/messages/0102030405000001000005CEE72E0001": "unknown", // its receipt's retention may be over
		"/v1/messages/x": false, "/v1/messages/": false, "/v1/messages/%00": false,
	} {
		for _, method := range []string{"GET", "DELETE"} {
			a := l.do(method, path, "")
			if l.refused(a, 404, "not-found"); a.json["stored"] != stored {
				t.Errorf("%s: stored %v, want %v", path, a.json["stored"], stored)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	l := start(t, httpapi.Options{})
	_, path := publishOne(t, l)
	a := l.do("DELETE", path, "")
	if a.status != 200 || a.json["state"] != "cancelled" || a.json["stored"] != false {
		t.Errorf("cancel: %d %s", a.status, a.raw)
	}
	if again := l.do("DELETE", path, ""); again.status != 200 || again.json["state"] != "cancelled" {
		t.Errorf("cancel again: %d %s", again.status, again.raw)
	}
	for state, stored := range map[message.State]bool{
		message.StateInFlight: true, message.StateConfirmed: true, message.StateDead: true, message.StateDiscarded: false, message.StateRolledBack: false,
	} {
		id, path := publishOne(t, l)
		l.spool.change(id, func(r *message.Receipt) { r.State = state })
		a := l.do("DELETE", path, "")
		if detail, _ := a.json["detail"].(string); a.status != 409 || a.code() != "already-sent" || a.json["stored"] != stored || !strings.Contains(detail, state.String()) {
			t.Errorf("cancel what is %s: %d %s", state, a.status, a.raw)
		}
	}
	id, path := publishOne(t, l)
	l.spool.change(id, func(r *message.Receipt) { r.State, r.MaybeSent = message.StateRetrying, true })
	if a := l.do("DELETE", path, ""); a.status != 409 || a.code() != "maybe-sent" || a.json["stored"] != true {
		t.Errorf("cancel after an unknown attempt: %d %s", a.status, a.raw)
	}
	l.spool.err = spool.ErrReadOnly
	if a := l.do("DELETE", path, ""); a.status != 503 || a.json["stored"] != "unknown" {
		t.Errorf("cancel on a read-only spool: %d %s", a.status, a.raw)
	}
}

func TestStatus(t *testing.T) {
	l := start(t, httpapi.Options{
		Version: "1.2.3", BrokerType: "rocketmq", Survives: "pod", MaxMessage: 1000,
		Status: func(context.Context) httpapi.Status {
			return httpapi.Status{Degraded: []string{"broker"}, IdempotencyWindow: 90 * time.Minute}
		},
	})
	a := l.do("GET", "/v1/status", "")
	limits, _ := a.json["limits"].(map[string]any)
	if a.json["version"] != "1.2.3" || a.json["broker_type"] != "rocketmq" || a.json["survives"] != "pod" || a.json["state"] != "accepting" ||
		a.json["idempotency_window"] != "1h30m0s" || fmt.Sprint(a.json["degraded"]) != "[broker]" || limits["max_message_bytes"] != 1000.0 {
		t.Errorf("answered %s", a.raw)
	}
	if receipts := fmt.Sprint(a.json["receipts"]); receipts != "map[keep:24h0m0s max:1e+06]" {
		t.Errorf("receipts: %s", receipts)
	}
}

// A window of nothing is what an operator most needs to see.
func TestStatusTellsTheWindowAlsoWhenItIsZero(t *testing.T) {
	l := start(t, httpapi.Options{})
	if a := l.do("GET", "/v1/status", ""); a.json["idempotency_window"] != "0s" {
		t.Errorf("answered %s", a.raw)
	}
}

func TestPages(t *testing.T) {
	l := start(t, httpapi.Options{Tokens: []string{"secret"}}) // pages need none
	if a := l.do("GET", "/openapi.yaml", ""); string(a.raw) != string(api.OpenAPI) || a.header.Get("Content-Type") != "application/yaml" {
		t.Error("the description served is not the one embedded")
	}
	if a := l.do("HEAD", "/openapi.yaml", ""); a.status != 200 || len(a.raw) != 0 {
		t.Errorf("HEAD: %d with %d bytes", a.status, len(a.raw))
	}
	if a := l.do("GET", "/problems/spool-full", ""); !strings.Contains(string(a.raw), "503") || !strings.Contains(string(a.raw), "spool.limit") {
		t.Errorf("page: %s", a.raw)
	}
	if a := l.do("GET", "/problems", ""); !strings.Contains(string(a.raw), "/problems/spool-full") {
		t.Errorf("index: %s", a.raw)
	}
}

func TestToken(t *testing.T) {
	l := start(t, httpapi.Options{Tokens: []string{"old", "new"}})
	for auth, status := range map[string]int{"Bearer old": 202, "Bearer new": 202, "Bearer wrong": 401, "": 401} {
		a := l.do("POST", orders, "x", "Authorization", auth)
		if a.status != status {
			t.Errorf("Authorization %q: %d, want %d", auth, a.status, status)
		}
		if status == 401 && a.header.Get("WWW-Authenticate") == "" {
			t.Error("401 without WWW-Authenticate")
		}
	}
	if n := len(l.spool.stored()); n != 2 {
		t.Errorf("%d messages stored, want the 2 with a token", n)
	}
	for _, path := range []string{"/v1/status", "/v1/messages/x", "/nothing"} {
		if a := l.do("GET", path, ""); a.status != 401 {
			t.Errorf("%s without a token: %d", path, a.status)
		}
	}
}

func TestMetrics(t *testing.T) {
	l := start(t, httpapi.Options{})
	reg := prometheus.NewRegistry()
	if err := l.server.Register(reg); err != nil {
		t.Fatal(err)
	}
	l.accepted(l.do("POST", orders, "x"))
	l.do("POST", orders, "")
	l.do("GET", "/v1/status", "")
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
		# HELP remora_publish_requests_total Publish requests answered, batches included, by HTTP status code.
		# TYPE remora_publish_requests_total counter
		remora_publish_requests_total{code="202"} 1
		remora_publish_requests_total{code="400"} 1
	`), "remora_publish_requests_total")
	if err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "remora_publish_accept_seconds"); n != 1 || err != nil {
		t.Errorf("histogram: %d, %v", n, err)
	}
}

// TestQuestionsDoNotWaitForAStalledDisk: a receipt that has to be read, and a
// cancel, wait as long as a publish does.
func TestQuestionsDoNotWaitForAStalledDisk(t *testing.T) {
	l := start(t, httpapi.Options{AppendTimeout: 20 * time.Millisecond})
	goOn := make(chan struct{})
	l.spool.read = func() { <-goOn }
	for _, method := range []string{"GET", "DELETE"} {
		a := l.do(method, "/v1/messages/"+message.ID{1}.String(), "")
		l.refused(a, 503, "busy")
		if a.json["stored"] != "unknown" {
			t.Errorf("%s: stored = %v", method, a.json["stored"])
		}
	}
	close(goOn) // Shutdown waits for them
}

// TestQuestionsThatAreLeftAreBounded: a disk that does not answer for hours is
// asked by no more than the connections that there may be.
func TestQuestionsThatAreLeftAreBounded(t *testing.T) {
	l := start(t, httpapi.Options{AppendTimeout: 20 * time.Millisecond, MaxConns: 3})
	goOn := make(chan struct{})
	var asked atomic.Int64
	l.spool.read = func() { asked.Add(1); <-goOn }
	for range 10 {
		a := l.do("GET", "/v1/messages/"+message.ID{1}.String(), "")
		l.refused(a, 503, "busy")
		if a.json["stored"] != "unknown" {
			t.Errorf("stored = %v", a.json["stored"])
		}
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("the spool was asked %d times, want 3", n)
	}
	close(goOn)
}
