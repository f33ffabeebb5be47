package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"
)

// TestRedriveTellsWhatItWaitsFor: while a redrive waits for its canary, or at its end for
// the last outcomes, it says so, and that the broker is what is away.
func TestRedriveTellsWhatItWaitsFor(t *testing.T) {
	var conditions atomic.Value
	side := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"conditions":` + conditions.Load().(string) + `}`))
	}))
	defer side.Close()
	c, err := newClient(side.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	const away = `[{"name":"damaged","is":true,"since":"2026-01-02T03:04:04Z"},{"name":"broker","is":true,"since":"2026-01-02T03:04:05Z"}]`
	const since = "; the broker is unreachable, or takes nothing, since 2026-01-02T03:04:05.000Z"
	for _, tc := range []struct {
		conditions string
		now        operation
		want       string
	}{
		{away, operation{State: "running", Phase: "canary", Open: 5}, "waiting for the outcome of the first 5" + since},
		{away, operation{State: "running", Phase: "waiting", Open: 2}, "waiting for the outcome of 2" + since},
		{`[]`, operation{State: "running", Phase: "canary", Open: 1}, "waiting for the outcome of the first 1"},
		{`no JSON`, operation{State: "running", Phase: "canary", Open: 1}, "waiting for the outcome of the first 1"},
		{away, operation{State: "running", Phase: "canary"}, "canary"},
		{away, operation{State: "running", Phase: "redriving", Open: 9}, "redriving"},
		{`[]`, operation{State: "running", Phase: "redriving", Open: 9, Paused: []string{"orders"}}, "redriving, beside what waits as topics are paused: orders; see 'sidecar topic resume'"},
		{`[]`, operation{State: "running", Phase: "redriving", Open: 500, Paused: []string{"orders"}}, "waiting until fewer than 500 are without an outcome"},
		{away, operation{State: "running", Phase: "redriving", Open: 500}, "waiting until fewer than 500 are without an outcome" + since},
		{`[]`, operation{State: "running", Phase: "canary", Open: 1, Paused: []string{"orders"}}, "waiting for the outcome of the first 1"},
	} {
		conditions.Store(tc.conditions)
		f := (&dlqAct{verb: "redrive"}).following(&spooler{client: c}, nil)
		got := f.at(t.Context(), &tc.now)
		if got.at != tc.want {
			t.Errorf("%+v: %q, want %q", tc.now, got.at, tc.want)
		}
		if waits := got.waits != ""; waits != (len(tc.now.Paused) > 0 && strings.HasPrefix(tc.want, "waiting")) {
			t.Errorf("%+v: it is said to wait for a topic: %t", tc.now, waits)
		}
	}
}

// What is followed is asked what it is at, as long as it runs.
func TestFollowedOperationIsAskedWhatItIsAt(t *testing.T) {
	side := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"id":"o","state":"done","phase":"ended"}`))
	}))
	defer side.Close()
	s, err := newClient(side.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	told := ""
	f := following[operation]{
		begin: func(context.Context, *spooler) (json.RawMessage, error) {
			return json.RawMessage(`{"id":"o","state":"running","phase":"canary"}`), nil
		},
		at: func(_ context.Context, p *operation) counterLine {
			told += p.Phase
			return counterLine{}
		},
	}
	c := &cobra.Command{}
	c.SetContext(t.Context())
	if _, _, err := f.follow(c, &spooler{client: s}); err != nil || told != "canary" {
		t.Errorf("told %q, %v", told, err)
	}
}
