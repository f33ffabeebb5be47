package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// request writes a job as HTTP, to be sent to the data listener at addr.
func (j job) request(ctx context.Context, addr string) (*http.Request, error) {
	if len(j) > 1 {
		return batchRequest(ctx, addr, j)
	}
	s := j[0]
	c := s.full()
	target := url.URL{Scheme: "http", Host: addr, Path: "/v1/topics/" + s.topic + "/messages"}
	header := http.Header{}
	if s.form == query {
		target.RawQuery = s.queryOptions().Encode()
	} else {
		s.headerOptions(header)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	if s.number%5 == 0 {
		r.ContentLength = -1 // chunked
	}
	set(header, "Content-Type", s.contentType)
	set(header, "Traceparent", s.traceParent)
	r.Header = header
	return r, nil
}

func (s *spec) headerOptions(h http.Header) {
	h.Set("Idempotency-Key", strconv.Quote(s.idempotencyKey()))
	set(h, "MQ-Tag", s.tag)
	set(h, "MQ-Key", strings.Join(s.keys, ", "))
	set(h, "MQ-Ordering-Key", s.orderingKey)
	for _, p := range s.properties {
		h.Add("MQ-Property", p.name+"="+url.PathEscape(p.value))
	}
	if s.wait > 0 {
		h.Set("Prefer", fmt.Sprintf("wait=%d", int(s.wait.Seconds())))
	}
}

func (s *spec) queryOptions() url.Values {
	q := url.Values{"idempotency_key": {s.idempotencyKey()}, "key": s.keys}
	for name, value := range map[string]string{"tag": s.tag, "ordering_key": s.orderingKey} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, p := range s.properties {
		q.Set("prop."+p.name, p.value)
	}
	if s.wait > 0 {
		q.Set("wait", s.wait.String())
	}
	return q
}

func set(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

// batchItem is one object of POST /v1/messages:batch.
type batchItem struct {
	Topic          string            `json:"topic"`
	Body           *string           `json:"body,omitempty"`
	Base64         []byte            `json:"body_base64,omitempty"`
	Tag            string            `json:"tag,omitempty"`
	Keys           []string          `json:"keys,omitempty"`
	OrderingKey    string            `json:"ordering_key,omitempty"`
	Properties     map[string]string `json:"properties,omitempty"`
	ContentType    string            `json:"content_type,omitempty"`
	IdempotencyKey string            `json:"idempotency_key"`
}

func (s *spec) item() batchItem {
	c := s.full()
	i := batchItem{
		Topic: c.topic, Base64: c.body, Tag: c.tag, Keys: c.keys, OrderingKey: c.orderingKey,
		Properties: map[string]string{}, ContentType: c.contentType, IdempotencyKey: s.idempotencyKey(),
	}
	if utf8.Valid(c.body) {
		i.Body, i.Base64 = new(string(c.body)), nil
	}
	for _, p := range c.properties {
		i.Properties[p.name] = p.value
	}
	return i
}

// batchRequest sends every other batch as an array, the others as lines. A
// batch has one trace context, or as here none.
func batchRequest(ctx context.Context, addr string, j job) (*http.Request, error) {
	var body bytes.Buffer
	var items []batchItem
	lines := json.NewEncoder(&body)
	for _, s := range j {
		items = append(items, s.item())
	}
	mediaType := "application/x-ndjson"
	if j[0].number%2 == 0 {
		mediaType = "application/json"
		_ = lines.Encode(items) // strings and bytes always marshal
	} else {
		for _, i := range items {
			_ = lines.Encode(i)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/messages:batch", &body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", mediaType)
	return r, nil
}
