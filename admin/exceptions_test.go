package admin

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/spool"
)

func TestExceptionsOfATopic(t *testing.T) {
	addr, s, ids := serveSpool(t, Options{})
	leases, err := s.Lease(t.Context(), "a", spool.LeaseOptions{MaxMessages: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Bury(t.Context(), leases[0], "REFUSED", "no"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Cancel(t.Context(), ids[2]); err != nil {
		t.Fatal(err)
	}
	origin := s.ID().String()
	want := []string{
		fmt.Sprintf(`[{"origin":%q,"topic_sequence":1,"id":%q,"state":"dead"`, origin, ids[0]),
		fmt.Sprintf(`[{"origin":%q,"topic_sequence":2,"id":%q,"state":"cancelled"`, origin, ids[2]),
	}
	next := ""
	for i, prefix := range want {
		var page struct {
			Topic   string            `json:"topic"`
			Origins json.RawMessage   `json:"origins"`
			Items   []json.RawMessage `json:"items"`
			Since   time.Time         `json:"since"`
			Next    string            `json:"next_cursor"`
		}
		res := get(t, "GET", addr, "/v1/ledger/a/exceptions?limit=1&cursor="+next)
		if err := json.Unmarshal([]byte(res.body), &page); err != nil || res.status != 200 || page.Topic != "a" || page.Since.IsZero() || len(page.Items) != 1 {
			t.Fatalf("%d %s (%v)", res.status, res.body, err)
		}
		if got := fmt.Sprintf("[%s", page.Items[0]); len(got) < len(prefix) || got[:len(prefix)] != prefix {
			t.Errorf("item %d is %s, want %s", i, got, prefix)
		}
		if want := fmt.Sprintf(`[{"origin":%q,"last_topic_sequence":2}]`, origin); string(page.Origins) != want {
			t.Errorf("origins %s, want %s", page.Origins, want)
		}
		if next = page.Next; (next != "") != (i == 0) {
			t.Errorf("after item %d the cursor is %q", i, next)
		}
	}
}

func TestBadRequestsForExceptions(t *testing.T) {
	addr, _, _ := serveSpool(t, Options{})
	for path, want := range map[string]string{
		"/v1/ledger/b/exceptions":            "200  ",
		"/v1/ledger/none/exceptions":         `404 not-found false`,
		"/v1/ledger/b/exceptions?limit=0":    `400 invalid-option false`,
		"/v1/ledger/b/exceptions?limit=1001": `400 invalid-option false`,
		"/v1/ledger/b/exceptions?cursor=x":   `400 invalid-option false`,
		"/v1/ledger/b/exceptions?topic=a":    `400 invalid-option false`,
	} {
		if got := get(t, "GET", addr, path).code(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
