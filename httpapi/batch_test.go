package httpapi_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/spool"
)

const batchPath = "/v1/messages:batch"

var asJSON, asLines = []string{"Content-Type", "application/json"}, []string{"Content-Type", "application/x-ndjson; charset=utf-8"}

func TestBatch(t *testing.T) {
	l := start(t, httpapi.Options{})
	a := l.do("POST", batchPath, `[
		{"topic":"orders","body":"grün \u00fc \ud83d\ude00 \\ud800"},
		{"topic":"bills","body_base64":"AAH/","tag":"t","keys":["a","b"],"ordering_key":"o","properties":{"b":"2","A":"1"},
		 "content_type":"application/octet-stream","idempotency_key":"k 1","delay":null}
	]`, asJSON...)
	l.accepted(a)
	drafts := l.spool.stored()
	if len(drafts) != 2 || string(drafts[0].Body) != `grün ü 😀 \ud800` || string(drafts[1].Body) != "\x00\x01\xff" {
		t.Fatalf("stored %v", drafts)
	}
	d := drafts[1]
	got := fmt.Sprint(d.Topic, d.Tag, d.Keys, d.OrderingKey, d.Properties, d.ContentType, d.DedupeKey)
	if want := "bills t [a b] o [{A 1} {b 2}] application/octet-stream k 1"; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("stored %s, want %s", got, want)
	}
	receipts, _ := a.json["messages"].([]any)
	if len(receipts) != 2 || receipts[0].(map[string]any)["topic"] != "orders" || receipts[1].(map[string]any)["topic"] != "bills" {
		t.Errorf("answered %s", a.raw)
	}
}

func TestBatchOfLines(t *testing.T) {
	l := start(t, httpapi.Options{})
	l.accepted(l.do("POST", batchPath, "{\"topic\":\"a\",\"body\":\"1\"}\r\n\n  {\"topic\":\"a\",\"body\":\"2\"}", asLines...))
	if n := len(l.spool.stored()); n != 2 {
		t.Errorf("%d stored, want 2", n)
	}
}

func TestBatchReplaysItemByItem(t *testing.T) {
	l := start(t, httpapi.Options{})
	first := l.do("POST", orders, "x", "Idempotency-Key", "k")
	a := l.do("POST", batchPath, `[{"topic":"orders","body":"new"},{"topic":"orders","body":"x","idempotency_key":"k"}]`, asJSON...)
	l.accepted(a)
	again := a.json["messages"].([]any)[1].(map[string]any)
	if again["duplicate"] != true || again["id"] != first.json["id"] || len(l.spool.stored()) != 2 {
		t.Errorf("answered %s", a.raw)
	}
}

func TestBadBatches(t *testing.T) {
	item := `{"topic":"a","body":"x"}`
	cases := []struct {
		name   string
		body   string
		header []string
		status int
		code   string
		index  int    // of the first item at fault; -1: no items are named
		says   string // in the whole answer
	}{
		{"not JSON", `[{`, asJSON, 400, "invalid-json", -1, ""},
		{"an object", item, asJSON, 400, "invalid-json", -1, "begin"},
		{"something follows", `[` + item + `] x`, asJSON, 400, "invalid-json", -1, ""},
		{"nothing", ``, asJSON, 400, "invalid-json", -1, ""},
		{"not UTF-8", "[{\"topic\":\"a\",\"body\":\"\xff\"}]", asJSON, 400, "invalid-json", -1, "body_base64"},
		{"half a surrogate pair", `[{"topic":"a","body":"\ud83d!"}]`, asJSON, 400, "invalid-json", -1, "body_base64"},
		{"second half alone", `[{"topic":"a","body":"\\\uDE00"}]`, asJSON, 400, "invalid-json", -1, "surrogate"},
		{"empty", `[]`, asJSON, 400, "empty-batch", -1, ""},
		{"no lines", "\n\n", asLines, 400, "empty-batch", -1, ""},
		{"three messages of two", `[` + item + `,` + item + `,` + item + `]`, asJSON, 413, "batch-too-large", -1, "2 messages"},
		{"too many bytes", `["` + strings.Repeat("x", 9000) + `"]`, asJSON, 413, "batch-too-large", -1, "8192"},
		{"form data", item, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported-media-type", -1, "application/json"},
		{"no type", item, nil, 415, "unsupported-media-type", -1, "application/x-ndjson"},
		{"compressed", item, append([]string{"Content-Encoding", "gzip"}, asJSON...), 415, "unsupported-media-type", -1, "plain"},
		{"options of a single message", `[` + item + `]`, append([]string{"MQ-Tag", "t"}, asJSON...), 400, "invalid-option", -1, "items"},
		{"key of a single message", `[` + item + `]`, append([]string{"Idempotency-Key", "t"}, asJSON...), 400, "invalid-option", -1, "items"},

		{"item is no object", `[` + item + `,7]`, asJSON, 400, "invalid-item", 1, "object"},
		{"line is no object", item + "\nx", asLines, 400, "invalid-item", 1, ""},
		{"unknown member", `[{"topic":"a","body":"x","Tag":"t"}]`, asJSON, 400, "invalid-item", 0, "Tag"},
		{"member twice", `[{"topic":"a","topic":"b","body":"x"}]`, asJSON, 400, "invalid-item", 0, "twice"},
		{"property twice", `[{"topic":"a","body":"x","properties":{"p":"1","p":"2"}}]`, asJSON, 400, "invalid-item", 0, "twice"},
		{"body is no string", `[{"topic":"a","body":{"a":1}}]`, asJSON, 400, "invalid-item", 0, "a string"},
		{"both bodies", `[{"topic":"a","body":"x","body_base64":"eA=="}]`, asJSON, 400, "invalid-item", 0, "both"},
		{"bad base64", `[{"topic":"a","body_base64":"eA"}]`, asJSON, 400, "invalid-item", 0, "base64"},
		{"keys are no array", `[{"topic":"a","body":"x","keys":"k"}]`, asJSON, 400, "invalid-item", 0, "array"},
		{"no body", `[{"topic":"a"}]`, asJSON, 400, "empty-body", 0, ""},
		{"no topic", `[{"body":"x"}]`, asJSON, 400, "invalid-topic", 0, ""},
		{"message too large", `[{"topic":"a","body":"` + strings.Repeat("x", 2001) + `"}]`, asJSON, 413, "message-too-large", 0, "2000"},
		{"delay", `[` + item + `,{"topic":"a","body":"x","delay":"9s","deliver_at":"2026-01-02T03:04:05Z"}]`, asJSON, 400, "invalid-option", 1, "both"},
		{"reserved property", `[{"topic":"a","body":"x","properties":{"__x":"1"}}]`, asJSON, 400, "reserved-property", 0, ""},
		{"empty key", `[{"topic":"a","body":"x","idempotency_key":""}]`, asJSON, 400, "invalid-idempotency-key", 0, ""},
		{"one key twice", `[{"topic":"a","body":"x","idempotency_key":"k"},{"topic":"a","body":"x","idempotency_key":"k"}]`, asJSON, 400, "duplicate-idempotency-key", 1, "index 0"},
		{"two faults", `[{"topic":"a"},{"topic":"a b","body":"x"}]`, asJSON, 400, "invalid-batch", 0, "2 of 2"},
		{"key reused", `[` + item + `,{"topic":"a","body":"x","idempotency_key":"reused"}]`, asJSON, 422, "idempotency-key-reused", 1, ""},
	}
	l := start(t, httpapi.Options{MaxMessage: 2000, MaxBatchMessages: 2, MaxBatchBytes: 8192})
	l.spool.wrongAt["reused"] = spool.ErrKeyReused
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := l.do("POST", batchPath, c.body, c.header...)
			l.refused(a, c.status, c.code)
			if !strings.Contains(string(a.raw), c.says) {
				t.Errorf("answer lacks %q: %s", c.says, a.raw)
			}
			items, _ := a.json["errors"].([]any)
			switch {
			case c.index < 0 && items != nil:
				t.Errorf("items are named: %s", a.raw)
			case c.index >= 0 && (len(items) == 0 || items[0].(map[string]any)["index"] != float64(c.index)):
				t.Errorf("item %d is not named: %s", c.index, a.raw)
			}
		})
	}
}

// TestSmallMembersTakeLittleMemory: the budget counts the text of a batch, so what is made
// of it must not be many times as much.
func TestSmallMembersTakeLittleMemory(t *testing.T) {
	l := start(t, httpapi.Options{})
	var names strings.Builder
	for i := 0; names.Len() < 2<<20; i++ {
		fmt.Fprintf(&names, `"%d":"",`, i)
	}
	object := "{" + strings.TrimSuffix(names.String(), ",") + "}"
	event := []string{"Content-Type", "application/cloudevents-batch+json"}
	for _, c := range []struct {
		name, target, body string
		header             []string
		code, says         string
	}{
		{"an item", batchPath, "[" + object + "]", asJSON, "invalid-item", "10000 names"},
		{"properties", batchPath, `[{"topic":"a","body":"x","properties":` + object + `}]`, asJSON, "invalid-item", "10000 names"},
		{"keys", batchPath, `[{"topic":"a","body":"x","keys":["k"` + strings.Repeat(`,"k"`, 1<<19) + `]}]`, asJSON, "properties-too-large", "31743"},
		{"an event", orders, "[" + object + "]", event, "invalid-cloudevent", "10000 names"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			a := l.do("POST", c.target, c.body, c.header...)
			runtime.ReadMemStats(&after)
			l.refused(a, a.status, c.code)
			if !strings.Contains(string(a.raw), c.says) {
				t.Errorf("answered %s", a.raw)
			}
			if made := after.TotalAlloc - before.TotalAlloc; made > 20<<20 {
				t.Errorf("%d MiB were made of %d", made>>20, len(c.body)>>20)
			}
		})
	}
}

func TestBatchSameKeyInTwoTopics(t *testing.T) {
	l := start(t, httpapi.Options{})
	l.accepted(l.do("POST", batchPath, `[{"topic":"a","body":"x","idempotency_key":"k"},{"topic":"b","body":"x","idempotency_key":"k"}]`, asJSON...))
}

func TestBatchOfAThousand(t *testing.T) {
	l := start(t, httpapi.Options{})
	items := make([]string, 1000)
	for i := range items {
		items[i] = fmt.Sprintf(`{"topic":"a","body":"%d"}`, i)
	}
	l.accepted(l.do("POST", batchPath, "["+strings.Join(items, ",")+"]", asJSON...))
	for i, d := range l.spool.stored() {
		if string(d.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d has body %q", i, d.Body)
		}
	}
	a := l.do("POST", batchPath, "["+strings.Join(slices.Concat(items, items[:1]), ",")+"]", asJSON...)
	if a.status != 413 || a.json["limit"] != 1000.0 || len(l.spool.stored()) != 1000 {
		t.Errorf("1,001 messages: %d %s", a.status, a.raw)
	}
}
