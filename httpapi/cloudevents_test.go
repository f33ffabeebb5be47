package httpapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/httpapi"
)

var binaryEvent = []string{
	"ce-specversion", "1.0", "ce-id", "A-1", "ce-source", "/orders", "ce-type", "created",
	"ce-subject", "J%C3%BCrgen%20%22x%22", "Content-Type", "application/json",
}

func TestCloudEventInBinaryMode(t *testing.T) {
	l := start(t, httpapi.Options{})
	l.accepted(l.do("POST", orders, `{"a":1}`, append(binaryEvent, "MQ-Property", "own=1")...))
	d := l.spool.last()
	want := props("ce-id", "A-1", "ce-source", "/orders", "ce-specversion", "1.0", "ce-subject", `Jürgen "x"`, "ce-type", "created", "own", "1")
	if fmt.Sprint(d.Properties) != fmt.Sprint(want) || string(d.Body) != `{"a":1}` || d.ContentType != "application/json" {
		t.Errorf("stored %q %q %q", d.Properties, d.Body, d.ContentType)
	}
	if d.DedupeKey != "ce\n/orders\nA-1" {
		t.Errorf("dedupe key %q, want source and id", d.DedupeKey)
	}
}

func TestCloudEventIsRecognisedBySourceAndID(t *testing.T) {
	l := start(t, httpapi.Options{})
	l.accepted(l.do("POST", orders, "1", binaryEvent...))
	trace := slices.Concat(binaryEvent, []string{"ce-traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
	again := l.do("POST", orders, "1", trace...)
	if again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a retry with a trace of its own: %d %s", again.status, again.raw)
	}
	if other := l.do("POST", orders, "2", binaryEvent...); other.status != 422 {
		t.Errorf("the same event with other data: %d, want 422", other.status)
	}
	own := l.do("POST", orders, "1", append(binaryEvent, "Idempotency-Key", "mine")...)
	if own.header.Get("Idempotency-Replayed") != "" || l.spool.last().DedupeKey != "mine" {
		t.Errorf("an idempotency key of its own does not count: %s", own.raw)
	}
}

func TestCloudEventWithoutData(t *testing.T) {
	l := start(t, httpapi.Options{})
	l.accepted(l.do("POST", orders, "", binaryEvent...))
	d := l.spool.last()
	var event map[string]string
	if err := json.Unmarshal(d.Body, &event); err != nil || d.ContentType != "application/cloudevents+json" || len(d.Properties) != 0 {
		t.Fatalf("stored %q as %q with %v (%v)", d.Body, d.ContentType, d.Properties, err)
	}
	want := map[string]string{"specversion": "1.0", "id": "A-1", "source": "/orders", "type": "created", "subject": `Jürgen "x"`, "datacontenttype": "application/json"}
	if fmt.Sprint(event) != fmt.Sprint(want) || d.DedupeKey != "ce\n/orders\nA-1" {
		t.Errorf("event %v, key %q", event, d.DedupeKey)
	}
}

func TestCloudEventInStructuredMode(t *testing.T) {
	l := start(t, httpapi.Options{})
	body := ` {"specversion":"1.0", "id":"A-1", "source":"/orders", "type":"created", "data":{"ID":"x"}} `
	l.accepted(l.do("POST", orders, body, "Content-Type", "application/cloudevents+json; charset=UTF-8", "ce-id", "a copy"))
	d := l.spool.last()
	if string(d.Body) != body || d.ContentType != "application/cloudevents+json; charset=UTF-8" || d.DedupeKey != "ce\n/orders\nA-1" || len(d.Properties) != 0 {
		t.Errorf("stored %q as %q, key %q, properties %v", d.Body, d.ContentType, d.DedupeKey, d.Properties)
	}
}

func TestCloudEventWithLongSource(t *testing.T) {
	l := start(t, httpapi.Options{})
	for _, id := range []string{"1", "2"} {
		body := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/%s","type":"t"}`, id, strings.Repeat("s", 300))
		l.accepted(l.do("POST", orders, body, "Content-Type", "application/cloudevents+json"))
	}
	drafts := l.spool.stored()
	if len(drafts) != 2 || len(drafts[0].DedupeKey) > 255 || drafts[0].DedupeKey == drafts[1].DedupeKey {
		t.Errorf("keys %v", drafts)
	}
}

func TestBatchOfCloudEvents(t *testing.T) {
	l := start(t, httpapi.Options{})
	event := func(id string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/orders","type":"created","data":1}`, id)
	}
	header := []string{"Content-Type", "application/cloudevents-batch+json", "MQ-Tag", "t"}
	a := l.do("POST", orders, "["+event("1")+" , "+event("2")+"]", header...)
	l.accepted(a)
	drafts := l.spool.stored()
	if len(drafts) != 2 || string(drafts[1].Body) != event("2") || drafts[1].Tag != "t" || drafts[0].ContentType != "application/cloudevents+json" {
		t.Errorf("stored %v", drafts)
	}
	if receipts, _ := a.json["messages"].([]any); len(receipts) != 2 {
		t.Errorf("answered %s", a.raw)
	}

	bad := l.do("POST", orders, "["+event("3")+`,{"specversion":"1.0"}]`, header...)
	if bad.status != 400 || bad.code() != "invalid-cloudevent" || len(l.spool.stored()) != 2 {
		t.Errorf("a batch with a bad event: %d %s", bad.status, bad.raw)
	}
	twice := l.do("POST", orders, "["+event("4")+","+event("4")+"]", header...)
	if twice.code() != "duplicate-idempotency-key" || len(l.spool.stored()) != 2 {
		t.Errorf("one event twice: %d %s", twice.status, twice.raw)
	}
}
