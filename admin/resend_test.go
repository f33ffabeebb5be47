package admin

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// post sends a body and returns the answer.
func post(t *testing.T, addr, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: res.StatusCode, header: res.Header, body: string(text)}
}

// confirmed is a spool with one confirmed message on topic a, which it keeps.
func confirmed(t *testing.T) (*spool.Spool, message.ID) {
	t.Helper()
	dir := t.TempDir()
	db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(dir, "db"), CloseWait: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(t.Context(), db, spool.Options{Dir: dir, RetainFor: time.Hour, RetainBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	receipts, err := s.Append(t.Context(), []spool.Draft{{Message: message.Message{Topic: "a", Body: []byte("body")}}})
	if err != nil {
		t.Fatal(err)
	}
	leases, err := s.Lease(t.Context(), "a", spool.LeaseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Confirm(leases, []message.Confirmation{{OffsetMessageID: "o"}})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) { // until it is on disk: nobody is told
		found, err := s.Resend(t.Context(), spool.ResendFilter{Topic: "a"}, true)
		if err == nil && found.Messages == 1 {
			return s, receipts[0].ID
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", found, err)
		}
	}
}

func TestResendOrdersWhatWasConfirmed(t *testing.T) {
	s, id := confirmed(t)
	addr := serve(t, New(Options{Tokens: []string{"t"}}, Sources{Spool: func() Spool { return s }}))
	call := func(body string) answer {
		return post(t, addr, "/v1/messages/resend", body, "Authorization", "Bearer t")
	}
	if res := post(t, addr, "/v1/messages/resend", `{"filter":{"topic":"a"}}`); res.status != 401 {
		t.Errorf("without the token: %d %s", res.status, res.body)
	}
	for _, c := range []struct{ body, want string }{
		{`{"filter":{"topic":"a"},"dry_run":true}`, `200 {"messages":1,"bytes":5,"already_ordered":0,"missing":[],"dry_run":true}`},
		{`{"filter":{"ids":["` + id.String() + `"]}}`, `202 {"messages":1,"bytes":5,"already_ordered":0,"missing":[],"dry_run":false}`},
		{`{"filter":{"since":"2026-01-01T00:00:00Z"}}`, `202 {"messages":0,"bytes":0,"already_ordered":1,"missing":[],"dry_run":false}`},
		{`{"filter":{"until":"2000-01-01T00:00:00Z"}}`, `202 {"messages":0,"bytes":0,"already_ordered":0,"missing":[],"dry_run":false}`},
		{`{"filter":{"ids":["` + strings.Repeat("0", 32) + `"]}}`, `202 {"messages":0,"bytes":0,"already_ordered":0,"missing":["` + strings.Repeat("0", 32) + `"],"dry_run":false}`},
	} {
		res := call(c.body)
		if got := fmt.Sprint(res.status, " ", strings.TrimSpace(res.body)); got != c.want {
			t.Errorf("%s: %s, want %s", c.body, got, c.want)
		}
	}
	leases, err := s.Lease(t.Context(), "a", spool.LeaseOptions{})
	if err != nil || len(leases) != 1 || leases[0].ID != id {
		t.Errorf("%v %v", leases, err)
	}
	for body, want := range map[string]string{
		"":                             `400 invalid-json false`,
		"[]":                           `400 invalid-json false`,
		`{"filter":{"topics":"a"}}`:    `400 invalid-json false`,
		`{"filter":{"since":"today"}}`: `400 invalid-json false`,
		`{"filter":{"ids":["x"]}}`:     `400 invalid-json false`,
		`{"filter":{"topic":"a"}} {}`:  `400 invalid-json false`,
		`{"filter":{}}`:                `400 invalid-option false`,
		`{"filter":{"since":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}}`: `400 invalid-option false`,
		`{"filter":{"topic":"` + strings.Repeat("a", 300<<10) + `"}}`:                `400 invalid-option false`,
	} {
		if got := call(body).code(); got != want {
			t.Errorf("%.60s: %s, want %s", body, got, want)
		}
	}
}
