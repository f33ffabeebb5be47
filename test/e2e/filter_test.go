package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestSQLFilter: the brokers choose by the properties that were published, and the
// check says which filters they take.
func TestSQLFilter(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	topic := fmt.Sprint("filtered-", time.Now().UnixNano())
	createTopics(t, topic)
	got := make(chan string, 100)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			got <- string(body)
		}
	}))
	t.Cleanup(app.Close)
	s := newSidecar(t, "sidecar", nameServer(), fmt.Sprintf(
		`subscriptions: [{name: %s-app, topic: %s, handler: %q, filter: {sql: "amount > 100 AND region = 'eu'"}}]`, topic, topic, app.URL))
	must(t, s.Start())
	for _, properties := range []string{"amount=99&prop.region=eu", "amount=101&prop.region=us", "amount=101&prop.region=eu"} {
		publishWith(ctx, t, s, topic, properties)
	}
	select {
	case body := <-got:
		if body != "amount=101&prop.region=eu" {
			t.Errorf("delivered %s", body)
		}
	case <-ctx.Done():
		t.Fatal("nothing is delivered")
	}
	for range 10 { // had the filter passed an earlier one, it would be here
		publishWith(ctx, t, s, topic, "amount=101&prop.region=us")
	}
	publishWith(ctx, t, s, topic, "amount=102&prop.region=eu")
	if body := <-got; body != "amount=102&prop.region=eu" {
		t.Errorf("delivered %s", body)
	}

	wrong := newSidecar(t, "wrong", nameServer(), fmt.Sprintf(
		`subscriptions: [{name: wrong, topic: %s, filter: {sql: "amount >"}}, {name: right, topic: %s, filter: {sql: "amount > 1"}}]`, topic, topic))
	out, err := wrong.Command(ctx, "check", "-c", wrong.Config(), "-o", "json").Output()
	var report struct{ Findings []finding }
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) || json.Unmarshal(out, &report) != nil {
		t.Fatalf("check: %v: %s", err, out)
	}
	wantFinding(t, report.Findings, "failed", `wrong: SQL filter "amount >"`)
	wantFinding(t, report.Findings, "ok", "right: the brokers take its SQL filter")
}

type finding struct{ Level, Text string }

func wantFinding(t *testing.T, all []finding, level, begin string) {
	t.Helper()
	for _, f := range all {
		if strings.HasPrefix(f.Text, begin) {
			if f.Level != level {
				t.Errorf("%s: %s, want %s", f.Text, f.Level, level)
			}
			return
		}
	}
	t.Errorf("%q is not said: %v", begin, all)
}

// publishWith waits for the confirmation, so that later ones are behind it.
func publishWith(ctx context.Context, t *testing.T, s *sidecar, topic, properties string) {
	t.Helper()
	url := "http://" + s.Addresses().Data[0] + "/v1/topics/" + topic + "/messages?wait=30s&ordering_key=one&prop." + properties
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(properties))
	must(t, err)
	r.Close = true
	response, err := http.DefaultClient.Do(r)
	must(t, err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("publish: %s", response.Status)
	}
}
