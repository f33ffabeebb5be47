package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/message"
)

const receive = "/v1/subscriptions/billing/receive"

// pulledFull has all that a message may have, pulledBare only what it must.
func pulledFull() ackgate.Pulled {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	d := &message.Delivery{Identity: "I", BrokerMessageID: "B", Group: "billing", BornAt: at}
	d.ID, d.TopicSeq = message.NewID(message.SpoolID{1, 2, 3, 4, 5}, 1, 7, at), 42
	d.Topic, d.Tag, d.Keys, d.OrderingKey = "orders", "paid", []string{"k1", "k,2"}, "customer"
	d.ContentType, d.ContentEncoding, d.TraceParent, d.TraceState = "text/plain", "gzip", "00-1", "a=b"
	d.Properties = []message.Property{{Name: "a", Value: "1"}, {Name: "b", Value: "ü"}}
	d.Body = []byte{0, 1, 0xff}
	return ackgate.Pulled{Lease: ackgate.Lease{ID: "d-1", ExpiresAt: at}, Delivery: d, Attempt: 3, MaxAttempts: 16, Unchecked: true}
}

func pulledBare() ackgate.Pulled {
	d := &message.Delivery{Identity: "I", Group: "billing"}
	d.Topic = "orders"
	return ackgate.Pulled{Lease: ackgate.Lease{ID: "d-2", ExpiresAt: time.Now()}, Delivery: d, Attempt: 1}
}

func TestReceive(t *testing.T) {
	l, f := startDeliveries(t)
	f.pulled = []ackgate.Pulled{pulledFull(), pulledBare()}
	a := l.do("POST", receive, `{"max":2,"wait":"20s","lease":"90s"}`, "Content-Type", jsonType)
	if a.status != 200 || fmt.Sprint(f.said) != "[receive billing {Max:2 Wait:20s Lease:1m30s}]" {
		t.Fatalf("%d %s, told %v", a.status, a.raw, f.said)
	}
	id := f.pulled[0].Delivery.ID
	want := `{"deliveries":[{"id":"d-1","lease_expires_at":"2026-01-02T03:04:05.678Z","message":{"id":"` + id.String() +
		`","broker_message_id":"B","topic":"orders","group":"billing","tag":"paid","keys":["k1","k,2"],"ordering_key":"customer",` +
		`"properties":{"a":"1","b":"ü"},"content_type":"text/plain","content_encoding":"gzip","traceparent":"00-1","tracestate":"a=b",` +
		`"born_at":"2026-01-02T03:04:05.678Z","attempt":3,"max_attempts":16,"idempotency_key":"I","dedupe":"unchecked","origin":"` + id.Spool().String() +
		`","topic_sequence":42,"body_base64":"AAH/"}},{"id":"d-2",`
	if !strings.HasPrefix(string(a.raw), want) {
		t.Errorf("answered\n%s\nwant\n%s", a.raw, want)
	}
	if !strings.Contains(string(a.raw), `"message":{"id":"I","topic":"orders","group":"billing","attempt":1,"idempotency_key":"I","body_base64":""}`) {
		t.Errorf("a bare message: %s", a.raw)
	}
}

func TestReceiveNothing(t *testing.T) {
	l, f := startDeliveries(t)
	a := l.do("POST", receive, "")
	if a.status != 204 || len(a.raw) > 0 || fmt.Sprint(f.said) != "[receive billing {Max:10 Wait:0s Lease:1m0s}]" {
		t.Errorf("%d %q, told %v", a.status, a.raw, f.said)
	}
	l.do("POST", receive, `{"wait":"10h"}`, "Content-Type", jsonType)
	if !strings.Contains(f.said[1], "Wait:1m0s") {
		t.Errorf("a long wait: %v", f.said)
	}
	if a.header.Get("MQ-Subscription-State") != "" {
		t.Error("told to be held up")
	}
	f.heldUp = []ackgate.HeldUp{{Cause: ackgate.Paused}}
	if a := l.do("POST", receive, ""); a.status != 204 || a.header.Get("MQ-Subscription-State") != "paused" {
		t.Errorf("paused: %d, %v", a.status, a.header)
	}
	f.heldUp = []ackgate.HeldUp{{Cause: ackgate.AllLeased}}
	if a := l.do("POST", receive, ""); a.status != 204 || a.header.Get("MQ-Subscription-State") != "leased" {
		t.Errorf("all leased: %d, %v", a.status, a.header)
	}
}

func TestReceiveIsRefused(t *testing.T) {
	for _, body := range []string{`{"max":0}`, `{"max":101}`, `{"max":"10"}`, `{"max":1.5}`, `{"lease":"0s"}`, `{"wait":20}`, `{"count":1}`} {
		l, f := startDeliveries(t)
		l.refused(l.do("POST", receive, body, "Content-Type", jsonType), 400, "invalid-option")
		if len(f.said) > 0 {
			t.Errorf("%s: told all the same", body)
		}
	}
	for err, want := range map[error]string{
		ackgate.ErrUnknownSubscription: "404 unknown-subscription", ackgate.ErrPushed: "409 subscription-has-handler",
		ackgate.ErrStopping: "503 draining", ackgate.ErrStarting: "503 starting",
	} {
		l, f := startDeliveries(t)
		f.err = err
		if a := l.do("POST", receive, ""); fmt.Sprint(a.status, " ", a.code()) != want {
			t.Errorf("%v answered %d %s, want %s", err, a.status, a.code(), want)
		}
	}
	l := start(t, httpapi.Options{})
	l.refused(l.do("POST", receive, ""), 404, "unknown-subscription")
}

func TestShutdownEndsAReceive(t *testing.T) {
	l, f := startDeliveries(t)
	f.waits = make(chan struct{})
	c, r := l.dial()
	answered := make(chan int, 1)
	go func() {
		answered <- l.roundTrip(c, r, "POST "+receive+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").status
	}()
	<-f.waits
	if err := l.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if status := <-answered; status != 204 {
		t.Errorf("answered %d", status)
	}
}
