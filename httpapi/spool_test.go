package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

var _ httpapi.Spool = (*spool.Spool)(nil)

// startReal serves a spool on disk, which is closed before its directory goes.
func startReal(t *testing.T) (*listener, *spool.Spool) {
	t.Helper()
	dir := t.TempDir()
	db, err := kv.Open(t.Context(), kv.Options{Dir: dir, CloseWait: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	sp, err := spool.Open(t.Context(), db, spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	})
	ln, err := httpapi.Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	return startServer(t, ln, httpapi.Options{Transactions: sp, CheckURLs: transaction.Allowed{"http://127.0.0.1:*"}}, sp, newFakeSpool()), sp
}

// TestOnTheRealSpool walks a message through the listener and a spool on disk.
func TestOnTheRealSpool(t *testing.T) {
	l, sp := startReal(t)
	first := l.do("POST", orders, "body", "Idempotency-Key", "k", "MQ-Tag", "t")
	l.accepted(first)
	if again := l.do("POST", orders, "body", "Idempotency-Key", "k", "MQ-Tag", "t"); again.header.Get("Idempotency-Replayed") != "true" || again.json["id"] != first.json["id"] {
		t.Errorf("replay: %d %s", again.status, again.raw)
	}
	if other := l.do("POST", orders, "other", "Idempotency-Key", "k"); other.status != 422 {
		t.Errorf("other content: %d %s", other.status, other.raw)
	}
	path := first.header.Get("Location")
	if a := l.do("GET", path, ""); a.status != 200 || a.json["state"] != "pending" {
		t.Errorf("receipt: %d %s", a.status, a.raw)
	}
	if a := l.do("DELETE", path, ""); a.status != 200 || a.json["state"] != "cancelled" {
		t.Errorf("cancel: %d %s", a.status, a.raw)
	}
	if a := l.do("POST", orders, "body", "Idempotency-Key", "k", "MQ-Tag", "t"); a.status != 409 || a.code() != "idempotency-key-settled" {
		t.Errorf("key of a cancelled message: %d %s", a.status, a.raw)
	}
	batch := l.do("POST", batchPath, `[{"topic":"orders","body":"1"},{"topic":"orders","body":"x","idempotency_key":"k"}]`, asJSON...)
	if batch.status != 409 || !strings.Contains(string(batch.raw), `"index":1`) {
		t.Errorf("batch with that key: %d %s", batch.status, batch.raw)
	}

	answers := make(chan *answer, 1)
	go func() { answers <- l.do("POST", orders, strings.Repeat("x", 2<<20), "Prefer", "wait=60") }()
	confirmReal(t, sp)
	a := <-answers
	if a.status != 200 || a.json["confirmed"] != true {
		t.Errorf("wait: %d %s", a.status, a.raw)
	}
	if a := l.do("GET", a.header.Get("Location"), ""); a.json["state"] != "confirmed" || a.json["broker"] == nil {
		t.Errorf("receipt of a confirmed message: %s", a.raw)
	}
	if a := l.do("DELETE", a.header.Get("Location"), ""); a.status != 409 || a.code() != "already-sent" {
		t.Errorf("cancel of a confirmed message: %d %s", a.status, a.raw)
	}
}

// TestNothingIsKeptOfADraft: a request's draft is the next one's, so the spool must have
// copied it, whatever of it is in its memory when it is leased.
func TestNothingIsKeptOfADraft(t *testing.T) {
	const conns, each = 8, 25
	l, sp := startReal(t)
	var clients sync.WaitGroup
	for n := range conns {
		clients.Go(func() {
			c, r := l.dial()
			for i := range each {
				text := fmt.Sprintf("%02d-%04d-", n, i)
				res := l.roundTrip(c, r, fmt.Sprintf("POST /v1/topics/t/messages?prop.q=%s HTTP/1.1\r\nHost: localhost\r\nMQ-Tag: %s\r\nMQ-Key: %s\r\n"+
					"MQ-Property: p=%s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", text, text, text, text, text, len(text), text))
				if res.status != 202 {
					t.Errorf("connection %d, request %d: %d", n, i, res.status)
				}
			}
		})
	}
	clients.Wait()
	seen := map[string]bool{}
	for len(seen) < conns*each {
		leases, err := sp.Lease(t.Context(), "t", spool.LeaseOptions{})
		if err != nil {
			t.Fatalf("after %d messages: %v", len(seen), err)
		}
		confirmed := make([]message.Confirmation, len(leases))
		for i, lease := range leases {
			text := string(lease.Body)
			if lease.Tag != text || strings.Join(lease.Keys, ",") != text || lease.ContentType != text || fmt.Sprint(lease.Properties) != fmt.Sprint(props("p", text, "q", text)) || seen[text] {
				t.Errorf("a message of two requests: %q %q %q %q %v", text, lease.Tag, lease.Keys, lease.ContentType, lease.Properties)
			}
			seen[text] = true
			confirmed[i] = message.Confirmation{MessageID: lease.ID.String(), OffsetMessageID: "7F", Queue: "a/0"}
		}
		sp.Confirm(leases, confirmed)
	}
}

// confirmReal leases the next message, of 2 MiB, and confirms it.
func confirmReal(t *testing.T, sp *spool.Spool) {
	t.Helper()
	topic, err := sp.NextTopic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leases, err := sp.Lease(t.Context(), topic, spool.LeaseOptions{MaxMessages: 1, MaxBytes: 8 << 20})
	if err != nil || len(leases) != 1 || len(leases[0].Body) != 2<<20 {
		t.Fatalf("leased %d messages: %v", len(leases), err)
	}
	sp.Confirm(leases, []message.Confirmation{{MessageID: leases[0].ID.String(), OffsetMessageID: "7F", Queue: "a/0", Offset: 1}})
}

// TestDelayOnTheRealSpool walks a delayed message from its 202 to its cancel.
func TestDelayOnTheRealSpool(t *testing.T) {
	l, sp := startReal(t)
	header := []string{"MQ-Delay", "30h", "Idempotency-Key", "k"}
	first := l.do("POST", orders, "body", header...)
	l.accepted(first)
	at, _ := first.json["deliver_at"].(string)
	if first.json["state"] != "delayed" || first.json["stored"] != true || at == "" {
		t.Errorf("accepted %s", first.raw)
	}
	path := first.header.Get("Location")
	if a := l.do("GET", path, ""); a.status != 200 || a.json["state"] != "delayed" || a.json["deliver_at"] != at {
		t.Errorf("receipt: %d %s", a.status, a.raw)
	}
	if a := l.do("POST", orders, "body", header...); a.json["duplicate"] != true || a.json["state"] != "delayed" || a.json["deliver_at"] != at {
		t.Errorf("replay: %d %s", a.status, a.raw)
	}
	if a := l.do("POST", orders, "body", "MQ-Delay", "31h", "Idempotency-Key", "k"); a.status != 422 {
		t.Errorf("another delay under the key: %d %s", a.status, a.raw)
	}
	if a := l.do("DELETE", path, ""); a.status != 200 || a.json["state"] != "cancelled" || a.json["deliver_at"] != nil {
		t.Errorf("cancel: %d %s", a.status, a.raw)
	}
	answers := make(chan *answer, 1)
	go func() {
		answers <- l.do("POST", orders, strings.Repeat("x", 2<<20), "MQ-Delay", "100ms", "Prefer", "wait=60")
	}()
	confirmReal(t, sp)
	if a := <-answers; a.status != 200 || a.json["confirmed"] != true || a.json["deliver_at"] != nil {
		t.Errorf("wait over a delay: %d %s", a.status, a.raw)
	}
}

// TestTTLOnTheRealSpool: a message that nobody confirms in time is a dead letter,
// and says whether it may have been delivered.
func TestTTLOnTheRealSpool(t *testing.T) {
	for _, outcome := range []message.Outcome{message.OutcomeRetryable, message.OutcomeUnknown} {
		t.Run(outcome.String(), func(t *testing.T) {
			t.Parallel() // each waits for its TTL
			l, sp := startReal(t)
			var a *answer
			for ttl, tried := 3, false; !tried; ttl *= 2 { // a slow disk may leave no time for an attempt
				if a, tried = expires(t, l, sp, ttl, outcome); !tried && a.json["state"] != "dead" {
					t.Fatalf("it is not given to be sent: %d %s", a.status, a.raw)
				}
			}
			if a.status != 202 || a.json["state"] != "dead" || a.json["stored"] != true {
				t.Fatalf("answered %d %s", a.status, a.raw)
			}
			id, _ := a.json["id"].(string)
			story := l.do("GET", "/v1/messages/"+id, "")
			if maybe := story.json["maybe_delivered"] == true; story.json["state"] != "dead" || maybe != (outcome == message.OutcomeUnknown) {
				t.Errorf("%s", story.raw)
			}
		})
	}
}

// expires accepts a message, makes an attempt in vain, and returns what is answered
// when the message has expired; tried is false when that was before the attempt.
func expires(t *testing.T, l *listener, sp *spool.Spool, ttl int, outcome message.Outcome) (a *answer, tried bool) {
	t.Helper()
	answers := make(chan *answer, 1)
	ctx, answered := context.WithCancel(t.Context())
	go func() {
		defer answered()
		answers <- l.do("POST", orders, "body", "MQ-TTL", fmt.Sprint(ttl, "s"), "Prefer", "wait=60")
	}()
	for !tried && ctx.Err() == nil {
		leases, err := sp.Lease(ctx, "orders", spool.LeaseOptions{})
		switch {
		case err == nil:
			sp.Retry(leases, time.Now().Add(time.Hour), outcome, "no answer")
			tried = true
		case errors.Is(err, spool.ErrNotFound):
			time.Sleep(time.Millisecond)
		case ctx.Err() == nil:
			t.Fatal(err)
		}
	}
	return <-answers, tried
}

// TestTTLIsOfTheRequest: under an idempotency key another TTL is another message.
func TestTTLIsOfTheRequest(t *testing.T) {
	l, _ := startReal(t)
	if again := l.do("POST", orders, "body", "Idempotency-Key", "k", "MQ-TTL", "30h"); again.status != 202 {
		t.Errorf("accepted: %s", again.raw)
	}
	if other := l.do("POST", orders, "body", "Idempotency-Key", "k", "MQ-TTL", "31h"); other.status != 422 {
		t.Errorf("another ttl under the key: %s", other.raw)
	}
}
