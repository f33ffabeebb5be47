package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// TestBadInput: a problem that says what to change, and nothing stored.
func TestBadInput(t *testing.T) {
	event := func(more ...string) []string {
		return append([]string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"}, more...)
	}
	cases := []struct {
		name   string
		target string // "" or a query: of orders
		body   string
		header []string
		status int
		code   string
		says   string // in detail or hint
	}{
		{"empty body", "", "", nil, 400, "empty-body", "at least one byte"},
		{"body over the limit", "", strings.Repeat("x", 2001), nil, 413, "message-too-large", "2000 bytes"},

		{"topic with a space", "/v1/topics/a%20b/messages", "x", nil, 400, "invalid-topic", "letters, digits"},
		{"topic with a slash", "/v1/topics/a%2Fb/messages", "x", nil, 400, "invalid-topic", "a/b"},
		{"topic with a line break", "/v1/topics/a%0Ab/messages", "x", nil, 400, "invalid-topic", ""},
		{"topic with percent and bar", "/v1/topics/%25RETRY%25g/messages", "x", nil, 400, "invalid-topic", ""},
		{"topic of 128 characters", "/v1/topics/" + strings.Repeat("t", 128) + "/messages", "x", nil, 400, "invalid-topic", "127"},
		{"no topic", "/v1/topics//messages", "x", nil, 400, "invalid-topic", "empty"},
		{"system topic", "/v1/topics/RMQ_SYS_TRACE_TOPIC/messages", "x", nil, 400, "invalid-topic", "broker"},
		{"schedule topic", "/v1/topics/SCHEDULE_TOPIC_XXXX/messages", "x", nil, 400, "invalid-topic", "broker"},

		{"tag with a blank", "?tag=a%20b", "x", nil, 400, "invalid-tag", "blank"},
		{"two tags", "?tag=a||b", "x", nil, 400, "invalid-tag", "one tag"},
		{"tag with a line break", "?tag=a%0Ab", "x", nil, 400, "invalid-tag", "0x0a"},
		{"tag with a separator of RocketMQ", "?tag=a%01b", "x", nil, 400, "invalid-tag", "0x01"},
		{"tag of 256 bytes", "?tag=" + strings.Repeat("t", 256), "x", nil, 400, "invalid-tag", "255"},
		{"tag that is not UTF-8", "?tag=%ff", "x", nil, 400, "invalid-tag", "UTF-8"},
		{"key with a blank", "?key=a%20b", "x", nil, 400, "invalid-key", "blank"},
		{"key with a control character", "?key=a%02b", "x", nil, 400, "invalid-key", "0x02"},
		{"ordering key with a control character", "?ordering_key=%7f", "x", nil, 400, "invalid-ordering-key", "0x7f"},
		{"ordering key that is not UTF-8", "", "x", []string{"MQ-Ordering-Key", "\xc3\x28"}, 400, "invalid-ordering-key", "UTF-8"},

		{"property without a value", "", "x", []string{"MQ-Property", "a="}, 400, "invalid-property", "leave the property out"},
		{"property without '='", "", "x", []string{"MQ-Property", "a"}, 400, "invalid-property", "name=value"},
		{"property without a name", "", "x", []string{"MQ-Property", "=v"}, 400, "invalid-property", "name=value"},
		{"property badly encoded", "", "x", []string{"MQ-Property", "a=100%"}, 400, "invalid-property", "%25"},
		{"property with a separator of RocketMQ", "", "x", []string{"MQ-Property", "a=1%01TRAN_MSG%02true"}, 400, "invalid-property", "0x01"},
		{"property that is not UTF-8", "", "x", []string{"MQ-Property", "a=%ff"}, 400, "invalid-property", "UTF-8"},
		{"property name with a line break", "?prop.a%0Ab=1", "x", nil, 400, "invalid-property", "0x0a"},
		{"property name with a blank", "?prop.a%20b=1", "x", nil, 400, "invalid-property", "blank"},
		{"properties over 32 KiB", "", "x", []string{"MQ-Property", "a=" + strings.Repeat("v", 32<<10)}, 400, "properties-too-large", "31743"},
		{"headers over the limit", "", "x", []string{"MQ-Property", "a=" + strings.Repeat("v", 64<<10)}, 431, "headers-too-large", "batch"},
		{"reserved: TRAN_MSG", "", "x", []string{"MQ-Property", "TRAN_MSG=true"}, 400, "reserved-property", "TRAN_MSG"},
		{"reserved: DELAY in lower case", "", "x", []string{"MQ-Property", "delay=3"}, 400, "reserved-property", "choose another"},
		{"reserved: UNIQ_KEY in the query", "?prop.UNIQ_KEY=1", "x", nil, 400, "reserved-property", "UNIQ_KEY"},
		{"reserved: timers", "", "x", []string{"MQ-Property", "TIMER_DELAY_MS=1"}, 400, "reserved-property", ""},
		{"reserved: ours", "", "x", []string{"MQ-Property", "remora-origin=x"}, 400, "reserved-property", ""},
		{"reserved: CloudEvents", "", "x", []string{"MQ-Property", "ce-id=1"}, 400, "reserved-property", ""},

		{"tag differs", "?tag=a", "x", []string{"MQ-Tag", "b"}, 400, "invalid-option", "MQ-Tag"},
		{"tag twice", "", "x", []string{"MQ-Tag", "a", "MQ-Tag", "b"}, 400, "invalid-option", "MQ-Tag"},
		{"tag given and empty", "?tag=", "x", []string{"MQ-Tag", "b"}, 400, "invalid-option", "MQ-Tag"},
		{"tag empty", "", "x", []string{"MQ-Tag", ""}, 400, "invalid-option", "MQ-Tag"},
		{"ordering key empty", "", "x", []string{"MQ-Ordering-Key", ""}, 400, "invalid-option", "MQ-Ordering-Key"},
		{"key empty", "", "x", []string{"MQ-Key", ""}, 400, "invalid-option", "MQ-Key"},
		{"key empty, query", "?key=,", "x", []string{"MQ-Key", "a"}, 400, "invalid-option", "MQ-Key"},
		{"delay empty", "", "x", []string{"MQ-Delay", ""}, 400, "invalid-option", "MQ-Delay"},
		{"delay empty, query", "?delay=", "x", nil, 400, "invalid-option", "MQ-Delay"},
		{"deliver-at empty", "?deliver_at=%20", "x", nil, 400, "invalid-option", "MQ-Deliver-At"},
		{"ttl empty", "", "x", []string{"MQ-TTL", ""}, 400, "invalid-option", "MQ-TTL"},
		{"wait empty", "?wait=", "x", nil, 400, "invalid-option", "wait"},
		{"keys differ", "?key=a", "x", []string{"MQ-Key", "a,b"}, 400, "invalid-option", "MQ-Key"},
		{"ordering keys differ", "?ordering_key=a", "x", []string{"MQ-Ordering-Key", "b"}, 400, "invalid-option", "MQ-Ordering-Key"},
		{"properties differ", "?prop.a=1", "x", []string{"MQ-Property", "a=2"}, 400, "invalid-option", `"a"`},
		{"idempotency keys differ", "?idempotency_key=a", "x", []string{"Idempotency-Key", `"b"`}, 400, "invalid-option", "Idempotency-Key"},
		{"waits differ", "?wait=4s", "x", []string{"Prefer", "wait=5"}, 400, "invalid-option", "Prefer"},
		{"delays differ", "?delay=1s", "x", []string{"MQ-Delay", "2s"}, 400, "invalid-option", "MQ-Delay"},
		{"delay and deliver-at", "", "x", []string{"MQ-Delay", "1s", "MQ-Deliver-At", "2026-01-02T03:04:05Z"}, 400, "invalid-option", "both"},
		{"wait without a number", "", "x", []string{"Prefer", "wait=soon"}, 400, "invalid-option", "soon"},
		{"negative wait", "?wait=-5s", "x", nil, 400, "invalid-option", "-5s"},
		{"unknown option", "?tagg=a", "x", nil, 400, "invalid-option", "tagg"},
		{"unknown header", "", "x", []string{"MQ-Tagg", "a"}, 400, "invalid-option", "mq-tagg"},
		{"query badly encoded", "?tag=%zz", "x", nil, 400, "invalid-option", "percent-encoded"},

		{"delay of an age, query", "?delay=999999h", "x", nil, 400, "invalid-option", "10 years"},
		{"deliver-at in an age", "", "x", []string{"MQ-Deliver-At", "9026-01-02T03:04:05+01:00"}, 400, "invalid-option", "10 years"},
		{"ttl without a unit", "?ttl=10", "x", nil, 400, "invalid-option", "ttl"},
		{"ttl of nothing", "", "x", []string{"MQ-TTL", "0s"}, 400, "invalid-option", "greater than 0"},
		{"ttls differ", "?ttl=1s", "x", []string{"MQ-TTL", "2s"}, 400, "invalid-option", "MQ-TTL"},
		{"delay without a unit", "", "x", []string{"MQ-Delay", "90"}, 400, "invalid-option", "unit (ms, s, m, h, d)"},
		{"delay of weeks", "", "x", []string{"MQ-Delay", "1w"}, 400, "invalid-option", "unit (ms, s, m, h, d)"},
		{"delay of days and hours", "", "x", []string{"MQ-Delay", "1d12h"}, 400, "invalid-option", "unit (ms, s, m, h, d)"},
		{"ttl of too many days", "", "x", []string{"MQ-TTL", "3651d"}, 400, "invalid-option", "10 years"},
		{"delay of nothing", "", "x", []string{"MQ-Delay", "0s"}, 400, "invalid-option", "greater than 0"},
		{"delay into the past", "", "x", []string{"MQ-Delay", "-1s"}, 400, "invalid-option", "-1s"},
		{"ttl of an age", "", "x", []string{"MQ-TTL", "999999h"}, 400, "invalid-option", "10 years"},
		{"deliver-at is no time", "", "x", []string{"MQ-Deliver-At", "tomorrow"}, 400, "invalid-option", "RFC 3339"},

		{"empty idempotency key", "", "x", []string{"Idempotency-Key", `""`}, 400, "invalid-idempotency-key", "empty"},
		{"idempotency key of 256 bytes", "", "x", []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, "invalid-idempotency-key", "255"},
		{"idempotency key with a blank", "", "x", []string{"Idempotency-Key", "a b"}, 400, "invalid-idempotency-key", "double quotes"},
		{"idempotency key, quote not closed", "", "x", []string{"Idempotency-Key", `"a`}, 400, "invalid-idempotency-key", "quote"},
		{"idempotency key, wrong escape", "", "x", []string{"Idempotency-Key", `"a\n"`}, 400, "invalid-idempotency-key", "quote"},
		{"idempotency key, not ASCII", "?idempotency_key=%C3%BC", "x", nil, 400, "invalid-idempotency-key", "ASCII"},
		{"idempotency key, line break", "?idempotency_key=ce%0Aa%0Ab", "x", nil, 400, "invalid-idempotency-key", "0x0a"},

		{"other digest", "", "x", []string{"Content-Digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"}, 400, "digest-mismatch", "1 bytes"},
		{"digest that is no base64", "", "x", []string{"Content-Digest", "sha-256=:!:"}, 400, "invalid-digest", "32 bytes"},
		{"digest of another kind only", "", "x", []string{"Content-Digest", "md5=:AAAA:"}, 400, "invalid-digest", "sha-256"},

		{"CloudEvent without a type", "", "x", []string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s"}, 400, "invalid-cloudevent", "type"},
		{"CloudEvent of another version", "", "x", []string{"ce-specversion", "2.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"}, 400, "invalid-cloudevent", "1.0"},
		{"CloudEvent attribute with a control character", "", "x", []string{"ce-specversion", "1.0", "ce-id", "%01", "ce-source", "/s", "ce-type", "t"}, 400, "invalid-cloudevent", "0x01"},
		{"CloudEvent without data, attribute that is not UTF-8", "", "", event("ce-subject", "%FF"), 400, "invalid-cloudevent", "UTF-8"},
		{"CloudEvent without data, attribute with a control character", "", "", event("ce-subject", "%01"), 400, "invalid-cloudevent", "0x01"},
		{"CloudEvent without data, empty attribute", "", "", event("ce-subject", ""), 400, "invalid-cloudevent", "subject"},
		{"CloudEvent without data, type that is not UTF-8", "", "", event("Content-Type", "text/\xff"), 400, "invalid-cloudevent", "UTF-8"},
		{"CloudEvent without data, compressed", "", "", event("Content-Encoding", "gzip"), 415, "unsupported-media-type", "plain"},
		{"CloudEvent that is no JSON", "", "x", []string{"Content-Type", "application/cloudevents+json"}, 400, "invalid-cloudevent", "JSON"},
		{"CloudEvent without an id", "", `{"specversion":"1.0","source":"/s","type":"t"}`, []string{"Content-Type", "application/cloudevents+json"}, 400, "invalid-cloudevent", "id"},
		{"CloudEvents format that is not JSON", "", "x", []string{"Content-Type", "application/cloudevents+avro"}, 415, "unsupported-media-type", "application/cloudevents+json"},
		{"CloudEvent, compressed", "", "x", []string{"Content-Type", "application/cloudevents+json", "Content-Encoding", "gzip"}, 415, "unsupported-media-type", "plain"},
		{"CloudEvents, one key for all", "", "[]", []string{"Content-Type", "application/cloudevents-batch+json", "Idempotency-Key", "k"}, 400, "invalid-option", "source and id"},
		{"CloudEvents, wait", "?wait=5s", "[]", []string{"Content-Type", "application/cloudevents-batch+json"}, 400, "invalid-option", "wait"},
		{"CloudEvents, none", "", "[]", []string{"Content-Type", "application/cloudevents-batch+json"}, 400, "empty-batch", ""},

		{"foreign Host", "", "x", []string{"Host", "evil.example:7600"}, 421, "misdirected-request", "evil.example"},
		{"browser's Origin", "", "x", []string{"Origin", "http://evil.example"}, 403, "forbidden-origin", "evil.example"},
		{"browser, cross-site", "", "x", []string{"Sec-Fetch-Site", "cross-site"}, 403, "forbidden-origin", "browser"},
	}
	l := start(t, httpapi.Options{MaxMessage: 2000})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			target := c.target
			if !strings.HasPrefix(target, "/") {
				target = orders + target
			}
			req := l.request("POST", target, c.body, c.header...)
			if host := req.Header.Get("Host"); host != "" {
				req.Host = host
			}
			a := l.send(req, c.body)
			l.refused(a, c.status, c.code)
			if said := fmt.Sprint(a.json["detail"], a.json["hint"], a.json["errors"]); !strings.Contains(said, c.says) {
				t.Errorf("says %q, want %q in it", said, c.says)
			}
			if a.json["stored"] != false || a.json["hint"] == "" {
				t.Errorf("document: %s", a.raw)
			}
		})
	}
}

func TestPathsAndMethods(t *testing.T) {
	l := start(t, httpapi.Options{})
	for _, c := range []struct {
		method, target string
		status         int
		code, allow    string
	}{
		{"GET", "/", 404, "no-such-path", ""},
		{"POST", "/v1/messages", 404, "no-such-path", ""},
		{"POST", "/v1/topics/a/messages/", 404, "no-such-path", ""},
		{"POST", "//v1/topics/a/messages", 404, "no-such-path", ""},
		{"POST", "/v1/x/../topics/a/messages", 404, "no-such-path", ""},
		{"GET", orders, 405, "method-not-allowed", "POST"},
		{"PUT", "/v1/messages:batch", 405, "method-not-allowed", "POST"},
		{"PATCH", "/v1/messages/0102030405000001000005CEE72E0001", 405, "method-not-allowed", "DELETE, GET, HEAD"},
		{"POST", "/v1/status", 405, "method-not-allowed", "GET, HEAD"},
		{"OPTIONS", orders, 403, "preflight-refused", ""},
		{"GET", "/problems/nothing", 404, "no-such-path", ""},
	} {
		a := l.do(c.method, c.target, "")
		l.refused(a, c.status, c.code)
		if got := a.header.Get("Allow"); got != c.allow {
			t.Errorf("%s %s: Allow %q, want %q", c.method, c.target, got, c.allow)
		}
	}
}

// TestErrorsOfTheSpool: one answer for each, telling the truth about stored.
func TestErrorsOfTheSpool(t *testing.T) {
	cases := []struct {
		err    error
		status int
		code   string
		stored any
	}{
		{spool.ErrFull, 503, "spool-full", false},
		{fmt.Errorf("%w: 1 MiB is free", spool.ErrDiskLow), 503, "disk-low", false},
		{&spool.TopicFullError{Topic: "orders"}, 503, "topic-full", false},
		{problem.New(problem.Starting, "not yet"), 503, "starting", "unknown"},
		{spool.ErrClosed, 503, "draining", false},
		{spool.ErrReadOnly, 503, "spool-read-only", false},
		{spool.ErrTooManyTopics, 400, "too-many-topics", false},
		{fmt.Errorf("%w: %w", spool.ErrUnknown, spool.ErrReadOnly), 503, "spool-read-only", "unknown"},
		{fmt.Errorf("%w: %w", spool.ErrUnknown, spool.ErrKeyDamaged), 503, "spool-read-only", "unknown"},
		{fmt.Errorf("%w: %w", spool.ErrUnknown, context.DeadlineExceeded), 503, "busy", "unknown"},
		{fmt.Errorf("%w: %w", spool.ErrUnknown, context.Canceled), 503, "draining", "unknown"},
		{context.DeadlineExceeded, 503, "busy", false},
		{fmt.Errorf("%w: a write has stalled", spool.ErrBusy), 503, "busy", false},
		{fmt.Errorf("%w: %w", spool.ErrUnknown, spool.ErrBusy), 503, "busy", "unknown"},
		{&spool.DraftError{Err: spool.ErrKeySettled}, 409, "idempotency-key-settled", false},
		{&spool.DraftError{Err: spool.ErrKeyReused}, 422, "idempotency-key-reused", false},
		{fmt.Errorf("%w: 9000 of them", spool.ErrTooLarge), 413, "batch-too-large", false},
		{fmt.Errorf("append: %w", &spool.TooLargeError{What: "one commit", Size: 9, Most: 8}), 413, "message-too-large", false},
		{errors.New("nobody foresaw this"), 500, "internal", "unknown"},
	}
	for _, c := range cases {
		t.Run(c.err.Error(), func(t *testing.T) {
			l := start(t, httpapi.Options{})
			l.spool.err = c.err
			a := l.do("POST", orders, "x")
			l.refused(a, c.status, c.code)
			if a.json["stored"] != c.stored {
				t.Errorf("stored = %v, want %v", a.json["stored"], c.stored)
			}
			if a.json["errors"] != nil {
				t.Errorf("a single publish names items: %s", a.raw)
			}
			checkRetryAfter(t, a)
		})
	}
}

// TestDamagedKeyIsNoFailedWrite: what keeps a repeat from being taken is said, and that
// it is not known whether there is something to repeat.
func TestDamagedKeyIsNoFailedWrite(t *testing.T) {
	l := start(t, httpapi.Options{})
	l.spool.err = fmt.Errorf("%w: read an idempotency key: %w", spool.ErrUnknown, spool.ErrKeyDamaged)
	a := l.do("POST", orders, "x", "Idempotency-Key", "k")
	said := fmt.Sprint(a.json["title"], a.json["detail"], a.json["hint"])
	if a.status != 503 || a.json["stored"] != "unknown" || !strings.Contains(said, "this idempotency key") || strings.Contains(said, "sync failed") || strings.Contains(said, "write failed") {
		t.Errorf("answered %d %s", a.status, a.raw)
	}
}

// TestUnforeseenErrorsAreLogged: the client is sent to the log, so it is there, of
// whatever was asked.
func TestUnforeseenErrorsAreLogged(t *testing.T) {
	var logged bytes.Buffer
	l := start(t, httpapi.Options{Log: slog.New(slog.NewJSONHandler(&logged, nil))})
	id, _ := l.do("POST", orders, "x").json["id"].(string)
	for what, ask := range map[string][3]string{
		"publish": {"POST", orders, "x"}, "receipt": {"GET", "/v1/messages/" + id}, "cancel": {"DELETE", "/v1/messages/" + id},
	} {
		l.spool.err = errors.New("the cause of " + what)
		if a := l.do(ask[0], ask[1], ask[2]); a.code() != "internal" || bytes.Contains(a.raw, []byte("cause")) {
			t.Errorf("%s: answered %s", what, a.raw)
		}
		if !strings.Contains(logged.String(), "the cause of "+what) {
			t.Errorf("%s: logged %s", what, logged.String())
		}
	}
}

func checkRetryAfter(t *testing.T, a *answer) {
	t.Helper()
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if a.status != http.StatusServiceUnavailable {
		if a.header.Get("Retry-After") != "" {
			t.Errorf("status %d with Retry-After", a.status)
		}
		return
	}
	ms, _ := a.json["retry_after_ms"].(float64)
	if err != nil || seconds < 1 || seconds > 60 || ms < 1000 || ms > 60_000 || float64(seconds) < ms/1000 {
		t.Errorf("Retry-After %q, retry_after_ms %v", a.header.Get("Retry-After"), ms)
	}
}

func TestRetryAfterIsJittered(t *testing.T) {
	l := start(t, httpapi.Options{})
	l.spool.err = spool.ErrFull
	seen := map[any]bool{}
	for range 20 {
		seen[l.do("POST", orders, "x").json["retry_after_ms"]] = true
	}
	if len(seen) < 10 {
		t.Errorf("20 refusals named only %d different waits", len(seen))
	}
}

// TestRetryAfterFollowsTheDrain: what is full has its own measure; nothing else
// is asked for one.
func TestRetryAfterFollowsTheDrain(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	l := start(t, httpapi.Options{RetryAfter: func(code, topic string) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, code+" "+topic)
		return 4 * time.Second
	}})
	for _, c := range []struct {
		err         error
		least, most float64 // seconds: half to one and a half of the measure
	}{
		{spool.ErrFull, 2, 6},
		{fmt.Errorf("append: %w", &spool.TopicFullError{Topic: "orders"}), 2, 6},
		{spool.ErrDiskLow, 2, 6},
		{context.DeadlineExceeded, 1, 3},
	} {
		l.spool.err = c.err
		ms, ok := l.do("POST", orders, "x").json["retry_after_ms"].(float64)
		if !ok || ms < 1000*c.least || ms > 1000*c.most {
			t.Errorf("%v: wait %v ms, want %v to %v s", c.err, ms, c.least, c.most)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(asked, ", "); got != "spool-full , topic-full orders, disk-low " {
		t.Errorf("asked for %q", got)
	}
}
