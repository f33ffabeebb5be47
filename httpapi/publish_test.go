package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/message"
)

const orders = "/v1/topics/orders/messages"

func TestPublishKeepsEveryByte(t *testing.T) {
	l := start(t, httpapi.Options{})
	var all strings.Builder
	for b := range 256 {
		all.WriteByte(byte(b))
	}
	for _, body := range []string{"x", all.String(), strings.Repeat("\x00", 100_000), `{"a":1}`, "\r\n\r\nGET / HTTP/1.1\r\n"} {
		l.accepted(l.do("POST", orders, body, "Content-Type", "application/octet-stream"))
		if got := string(l.spool.last().Body); got != body {
			t.Errorf("stored %d bytes that are not the %d sent", len(got), len(body))
		}
	}
}

func TestPublishAnswersTheReceipt(t *testing.T) {
	l := start(t, httpapi.Options{Survives: "node", BrokerType: "rocketmq"})
	a := l.do("POST", orders, "hello")
	l.accepted(a)
	id, _ := a.json["id"].(string)
	for member, want := range map[string]any{
		"topic": "orders", "state": "pending", "stored": true, "confirmed": false, "duplicate": false,
		"survives": "node", "accepted_at": "2026-01-02T03:04:05.678Z", "broker_type": "rocketmq", "broker": nil,
	} {
		if a.json[member] != want {
			t.Errorf("%s = %v, want %v", member, a.json[member], want)
		}
	}
	if got := a.header.Get("Location"); len(id) != 32 || got != "/v1/messages/"+id {
		t.Errorf("Location %q, id %q", got, id)
	}
	if a.header.Get("Server") != "" || a.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("unexpected headers: %v", a.header)
	}
}

// want is what a publish is expected to hand to the spool.
type want struct {
	tag, ordering string
	keys          []string
	props         []message.Property
	contentType   string
	encoding      string
	key           string
}

// props makes properties of name, value, name, value.
func props(text ...string) (list []message.Property) {
	for i := 0; i < len(text); i += 2 {
		list = append(list, message.Property{Name: text[i], Value: text[i+1]})
	}
	return list
}

func TestOptionsAsHeaderAndAsQuery(t *testing.T) {
	cases := []struct {
		name   string
		query  string
		header []string
		want   want
	}{
		{"none", "", nil, want{}},
		{"tag", "", []string{"MQ-Tag", "created"}, want{tag: "created"}},
		{"tag, query", "?tag=created", nil, want{tag: "created"}},
		{"tag, both the same", "?tag=a", []string{"MQ-Tag", "a"}, want{tag: "a"}},
		{"keys, list", "", []string{"MQ-Key", "a, b ,c"}, want{keys: []string{"a", "b", "c"}}},
		{"keys, repeated", "", []string{"MQ-Key", "a", "MQ-Key", "b"}, want{keys: []string{"a", "b"}}},
		{"keys, query", "?key=a&key=b,c", nil, want{keys: []string{"a", "b", "c"}}},
		{"keys, both the same", "?key=a,b", []string{"MQ-Key", "a", "MQ-Key", "b"}, want{keys: []string{"a", "b"}}},
		{"ordering key", "", []string{"MQ-Ordering-Key", "customer 7"}, want{ordering: "customer 7"}},
		{"ordering key, query", "?ordering_key=customer%207", nil, want{ordering: "customer 7"}},
		{"property keeps its case", "", []string{"MQ-Property", "OrderId=7"}, want{props: props("OrderId", "7")}},
		{"property, percent-encoded", "", []string{"MQ-Property", "name=J%C3%BCrgen%20%26+%3D"}, want{props: props("name", "Jürgen &+=")}},
		{"property, equals sign in the value", "", []string{"MQ-Property", "q=a=b"}, want{props: props("q", "a=b")}},
		{"properties are sorted", "", []string{"MQ-Property", "b=2", "MQ-Property", "a=1"}, want{props: props("a", "1", "b", "2")}},
		{"property, query", "?prop.Name=%E4%BD%A0%E5%A5%BD", nil, want{props: props("Name", "你好")}},
		{"property, both the same", "?prop.a=1", []string{"MQ-Property", "a=1"}, want{props: props("a", "1")}},
		{"content type", "", []string{"Content-Type", "text/plain; charset=utf-8"}, want{contentType: "text/plain; charset=utf-8"}},
		{"content encoding", "", []string{"Content-Encoding", "gzip"}, want{encoding: "gzip"}},
		{"key, quoted", "", []string{"Idempotency-Key", `"a \"b\" c"`}, want{key: `a "b" c`}},
		{"key, bare", "", []string{"Idempotency-Key", "8e03978e-40d5"}, want{key: "8e03978e-40d5"}},
		{"key, query", "?idempotency_key=k1", nil, want{key: "k1"}},
		{"key, quoted and bare are the same", "?idempotency_key=k1", []string{"Idempotency-Key", `"k1"`}, want{key: "k1"}},
		{"a URL in the query", "?prop.u=http://example.com/x", nil, want{props: props("u", "http://example.com/x")}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := start(t, httpapi.Options{})
			l.accepted(l.do("POST", orders+c.query, "x", c.header...))
			d := l.spool.last()
			got := want{d.Tag, d.OrderingKey, d.Keys, d.Properties, d.ContentType, d.ContentEncoding, d.DedupeKey}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
				t.Errorf("stored %q, want %q", got, c.want)
			}
		})
	}
}

func TestTraceContextIsCarried(t *testing.T) {
	l := start(t, httpapi.Options{})
	parent := "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	l.accepted(l.do("POST", orders, "x", "traceparent", parent, "tracestate", "a=1", "tracestate", "b=2"))
	if d := l.spool.last(); d.TraceParent != parent || d.TraceState != "a=1, b=2" {
		t.Errorf("stored %q and %q", d.TraceParent, d.TraceState)
	}
}

func TestReplay(t *testing.T) {
	l := start(t, httpapi.Options{})
	send := func(body string, header ...string) *answer {
		return l.do("POST", orders, body, append(header, "Idempotency-Key", `"k"`)...)
	}
	first := send("x", "MQ-Tag", "t", "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	again := send("x", "MQ-Tag", "t", "Prefer", "respond-async")
	l.accepted(first)
	l.accepted(again)
	if again.header.Get("Idempotency-Replayed") != "true" || again.json["duplicate"] != true || again.json["id"] != first.json["id"] {
		t.Errorf("replay answered %v %s", again.header, again.raw)
	}
	if first.header.Get("Idempotency-Replayed") != "" || len(l.spool.stored()) != 1 {
		t.Error("the first was a replay, or both were stored")
	}
	for name, other := range map[string]*answer{
		"body": send("y", "MQ-Tag", "t"), "tag": send("x", "MQ-Tag", "u"), "property": send("x", "MQ-Tag", "t", "MQ-Property", "a=1"),
		"content type": send("x", "MQ-Tag", "t", "Content-Type", "text/plain"), "ordering key": send("x", "MQ-Tag", "t", "MQ-Ordering-Key", "o"),
		"keys": send("x", "MQ-Tag", "t", "MQ-Key", "k"), "content encoding": send("x", "MQ-Tag", "t", "Content-Encoding", "br"),
	} {
		if other.status != 422 || other.code() != "idempotency-key-reused" || other.json["stored"] != false {
			t.Errorf("other %s: %d %s, want 422", name, other.status, other.raw)
		}
	}
	if elsewhere := l.do("POST", "/v1/topics/bills/messages", "y", "Idempotency-Key", "k"); elsewhere.status != 202 {
		t.Errorf("the same key in another topic: %d", elsewhere.status)
	}
}

func TestWaitAnswers200OnlyWhenConfirmed(t *testing.T) {
	for _, header := range [][]string{{"Prefer", "wait=5"}, {"Prefer", "respond-async, Wait=5"}, {"Prefer", `wait="5"; x=y`}, nil} {
		l := start(t, httpapi.Options{})
		target := orders
		if header == nil {
			target += "?wait=5s"
		}
		answers := make(chan *answer, 1)
		go func() { answers <- l.do("POST", target, "x", header...) }()
		confirmNext(t, l)
		a := <-answers
		if a.status != 200 || a.header.Get("Preference-Applied") != "wait" || a.json["confirmed"] != true || a.json["broker"] == nil {
			t.Errorf("%v: answered %d %v %s", header, a.status, a.header, a.raw)
		}
	}
}

// confirmNext confirms the next message that is stored.
func confirmNext(t *testing.T, l *listener) {
	t.Helper()
	for {
		l.spool.mu.Lock()
		for id := range l.spool.byID {
			l.spool.mu.Unlock()
			l.spool.confirm(id)
			return
		}
		l.spool.mu.Unlock()
		if t.Context().Err() != nil {
			t.Fatal("nothing was stored")
		}
	}
}

func TestWaitRunsOut(t *testing.T) {
	l := start(t, httpapi.Options{MaxWait: 20 * time.Millisecond})
	a := l.do("POST", orders, "x", "Prefer", "wait=3600") // shortened to MaxWait
	l.accepted(a)
	if a.header.Get("Preference-Applied") != "" || a.json["confirmed"] != false {
		t.Errorf("answered %v %s", a.header, a.raw)
	}
}

func TestWaitEndsWhenTheMessageIsDead(t *testing.T) {
	l := start(t, httpapi.Options{})
	first := l.do("POST", orders, "x", "Idempotency-Key", "k")
	id, err := message.ParseID(first.json["id"].(string))
	if err != nil {
		t.Fatal(err)
	}
	l.spool.change(id, func(r *message.Receipt) { r.State = message.StateDead })
	a := l.do("POST", orders, "x", "Idempotency-Key", "k", "Prefer", "wait=20")
	l.accepted(a)
	if a.json["state"] != "dead" || a.json["duplicate"] != true || a.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("answered %s", a.raw)
	}
}

func TestContentDigestIsVerified(t *testing.T) {
	l := start(t, httpapi.Options{})
	for _, digest := range []string{
		"sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:", // hello
		"unknown=:AAAA:, sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
		"sha-512=:m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==:",
	} {
		l.accepted(l.do("POST", orders, "hello", "Content-Digest", digest))
	}
	batch := `[{"topic":"a","body":"x"}]`
	wrong := l.do("POST", "/v1/messages:batch", batch, "Content-Type", "application/json", "Content-Digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:")
	if wrong.code() != "digest-mismatch" {
		t.Errorf("a batch with another digest: %d %s", wrong.status, wrong.raw)
	}
}

func TestChunkedBody(t *testing.T) {
	l := start(t, httpapi.Options{})
	body := strings.Repeat("0123456789abcdef", 10_000)
	req := l.request("POST", orders, "")
	req.Body = struct {
		*strings.Reader
		nopCloser
	}{strings.NewReader(body), nopCloser{}}
	req.ContentLength = -1
	l.accepted(l.send(req, body))
	if got := l.spool.last().Body; sum(got) != sum([]byte(body)) || cap(got) < len(body) {
		t.Errorf("stored %d bytes, sent %d", len(got), len(body))
	}
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

func TestLargestMessage(t *testing.T) {
	const limit = 100_000
	l := start(t, httpapi.Options{MaxMessage: limit})
	for size, status := range map[int]int{limit - 1: 202, limit: 202, limit + 1: 413} {
		for _, chunked := range []bool{false, true} {
			body := strings.Repeat("x", size)
			req := l.request("POST", orders, body)
			if chunked {
				req.ContentLength = -1
			}
			a := l.send(req, body)
			if a.status != status {
				t.Errorf("%d bytes, chunked %t: %d, want %d", size, chunked, a.status, status)
			}
			if status == 413 && (a.json["limit"] != float64(limit) || a.code() != "message-too-large") {
				t.Errorf("problem does not name the limit: %s", a.raw)
			}
		}
	}
	if n := len(l.spool.stored()); n != 4 {
		t.Errorf("%d messages stored, want 4", n)
	}
}

// What delays a message, and how long it may take, reaches the spool, as header, query
// or item of a batch.
func TestSchedule(t *testing.T) {
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	sent := at.Format(time.RFC3339Nano)
	for name, c := range map[string]struct {
		path, body string
		header     []string
		delay      time.Duration
		deliverAt  time.Time
		ttl        time.Duration
	}{
		"delay":            {orders, "x", []string{"MQ-Delay", "90s"}, 90 * time.Second, time.Time{}, 0},
		"delay, query":     {orders + "?delay=1h30m", "x", nil, 90 * time.Minute, time.Time{}, 0},
		"delay, days":      {orders, "x", []string{"MQ-Delay", "2d", "MQ-TTL", "7d"}, 48 * time.Hour, time.Time{}, 168 * time.Hour},
		"delay, both":      {orders + "?delay=1s", "x", []string{"MQ-Delay", "1s"}, time.Second, time.Time{}, 0},
		"time":             {orders, "x", []string{"MQ-Deliver-At", sent}, 0, at, 0},
		"time, query":      {orders + "?deliver_at=" + sent, "x", nil, 0, at, 0},
		"time, other zone": {orders, "x", []string{"MQ-Deliver-At", at.In(time.FixedZone("", 3600)).Format(time.RFC3339Nano)}, 0, at, 0},
		"a time that was":  {orders, "x", []string{"MQ-Deliver-At", "2006-01-02T03:04:05Z"}, 0, time.Date(2006, 1, 2, 3, 4, 5, 0, time.UTC), 0},
		"item, delay":      {batchPath, `[{"topic":"orders","body":"x","delay":"2m"}]`, asJSON, 2 * time.Minute, time.Time{}, 0},
		"item, time":       {batchPath, `[{"topic":"orders","body":"x","deliver_at":"` + sent + `"}]`, asJSON, 0, at, 0},
		"ttl":              {orders, "x", []string{"MQ-TTL", "90s"}, 0, time.Time{}, 90 * time.Second},
		"ttl, query":       {orders + "?ttl=1h30m&delay=1s", "x", nil, time.Second, time.Time{}, 90 * time.Minute},
		"item, ttl":        {batchPath, `[{"topic":"orders","body":"x","ttl":"2m"}]`, asJSON, 0, time.Time{}, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t, httpapi.Options{})
			if a := l.do("POST", c.path, c.body, c.header...); a.status != 202 {
				t.Fatalf("answered %d %s", a.status, a.raw)
			}
			if d := l.spool.last(); d.Delay != c.delay || !d.DeliverAt.Equal(c.deliverAt) || d.TTL != c.ttl {
				t.Errorf("stored with %v, %v and %v, want %v, %v and %v", d.Delay, d.DeliverAt, d.TTL, c.delay, c.deliverAt, c.ttl)
			}
		})
	}
}
