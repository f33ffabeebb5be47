package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/seen"
)

// someSeen has notes of one group, or fails.
type someSeen struct{ err error }

var noted = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (s someSeen) Streams(context.Context) ([]seen.Known, error) {
	origins := []seen.Origin{{ID: message.SpoolID{1, 2, 3, 4, 5}, Forgotten: 1024, Last: 1030, Handled: 4, Dead: 1, Repeats: 2}}
	return []seen.Known{
		{Group: "billing", Topic: "orders", Since: noted, UnsureAt: noted, Lazy: true, Origins: origins},
		{Group: "gone", Topic: "orders", Since: noted},
	}, s.err
}

func (s someSeen) Numbers(_ context.Context, group, _ string, _ message.SpoolID, from uint64) (seen.Page, error) {
	if s.err == nil && group != "billing" {
		return seen.Page{}, seen.ErrUnknown
	}
	return seen.Page{Handled: []seen.Range{{First: from, Last: from + 2}, {First: 1030, Last: 1030}}, Dead: []seen.Range{{First: 1029, Last: 1029}}, Next: 2049}, s.err
}

// TestSeenIsTold: groups with what is configured of them, and numbers as ranges.
func TestSeenIsTold(t *testing.T) {
	var broken error
	addr := serve(t, New(Options{}, Sources{
		Seen: func() Seen { return someSeen{broken} }, Consumed: []Consumed{{"bills", "billing", "orders", true, "latest"}, {"paid", "billing", "payments", false, "first"}},
	}))
	for path, want := range map[string]string{
		"/v1/ledger/seen": `{"streams":[` +
			`{"group":"billing","topic":"orders","subscription":"bills","filtered":true,"from":"latest","since":"2026-01-02T03:04:05.000Z","unsure_at":"2026-01-02T03:04:05.000Z","lazy":true,` +
			`"origins":[{"origin":"0102030405","forgotten_to":1024,"last_topic_sequence":1030,"handled":4,"dead":1,"repeats":2}]},` +
			`{"group":"gone","topic":"orders","filtered":false,"since":"2026-01-02T03:04:05.000Z","lazy":false,"origins":[]}]}`,
		"/v1/ledger/seen?group=billing&topic=orders&origin=0102030405&from=1025":       `{"origin":"0102030405","handled":[[1025,1027],[1030,1030]],"dead":[[1029,1029]],"next":2049}`,
		"/v1/ledger/seen?group=billing&topic=orders&origin=0102030405&from=4294967297": `{"origin":"0102030405","handled":[[4294967297,4294967299],[1030,1030]],"dead":[[1029,1029]],"next":2049}`,
	} {
		if res := get(t, "GET", addr, path); res.status != http.StatusOK || strings.TrimSpace(res.body) != want {
			t.Errorf("%s: %d %s", path, res.status, res.body)
		}
	}
	for path, want := range map[string]int{
		"?group=billing&topic=orders": http.StatusBadRequest, "?origin=0102030405&from=0": http.StatusBadRequest, "?topics=x": http.StatusBadRequest,
		"?group=billing&topic=orders&origin=0102030405&form=5": http.StatusBadRequest,
		"?group=bills&topic=orders&origin=0102030405":          http.StatusNotFound,
	} {
		if res := get(t, "GET", addr, "/v1/ledger/seen"+path); res.status != want {
			t.Errorf("%s: %d %s", path, res.status, res.body)
		}
	}
	for err, status := range map[error]int{seen.ErrClosed: 503, errors.New("secret path"): 500} {
		broken = err
		for _, path := range []string{"", "?group=billing&topic=orders&origin=0102030405"} {
			res := get(t, "GET", addr, "/v1/ledger/seen"+path)
			if res.status != status || strings.Contains(res.body, "secret") || !json.Valid([]byte(res.body)) {
				t.Errorf("%v: %d %s", err, res.status, res.body)
			}
		}
	}
}

// TestSeenBeforeItIsOpen: there is nothing to tell yet, and that is said.
func TestSeenBeforeItIsOpen(t *testing.T) {
	addr := serve(t, New(Options{}, Sources{Seen: func() Seen { return nil }}))
	if res := get(t, "GET", addr, "/v1/ledger/seen"); res.status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", res.status, res.body)
	}
}
