package problem_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/problem"
)

func TestEveryKindIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range problem.Kinds() {
		t.Run(k.Code, func(t *testing.T) {
			if seen[k.Code] {
				t.Error("code stands twice in the table")
			}
			seen[k.Code] = true
			if k.Status < 400 || k.Status > 599 || k.Title == "" || strings.HasSuffix(k.Title, ".") {
				t.Errorf("status %d, title %q: want an error status and a title without a full stop", k.Status, k.Title)
			}
			if k.Stored != problem.StoredNo && k.Stored != problem.StoredYes && k.Stored != problem.StoredUnknown {
				t.Errorf("stored = %q", k.Stored)
			}
			if k.Status >= 500 && k.Status != 503 && k.Code != problem.Internal {
				t.Errorf("status %d: a 5xx other than 503 is a bug", k.Status)
			}
			if wantRetry := k.Status >= 500 || k.Status == 408 || k.Status == 429; k.Retryable != wantRetry {
				t.Errorf("retryable = %t for status %d", k.Retryable, k.Status)
			}
			if page := problem.Page(k.Code); !strings.Contains(page, k.Title) || !strings.Contains(page, k.Hint) {
				t.Errorf("page lacks title or hint:\n%s", page)
			}
			if !strings.Contains(problem.Index(), problem.Path(k.Code)) {
				t.Error("index does not link the page")
			}
		})
	}
	if problem.Page("no-such-code") != "" {
		t.Error("a page for a code that does not exist")
	}
}

func TestKindsAreSortedByStatus(t *testing.T) {
	clients := slices.DeleteFunc(problem.Kinds(), func(k problem.Kind) bool { return k.Status >= 500 })
	if !slices.IsSortedFunc(clients, func(a, b problem.Kind) int { return a.Status - b.Status }) {
		t.Error("the table is not in order of status")
	}
}

func TestDocument(t *testing.T) {
	p := problem.New(problem.SpoolFull, "spool is full (limit %d bytes)", 42).WithLimit(42)
	p.RetryAfter = 1500 * time.Millisecond
	p.Items = []problem.Item{{Index: 3, Code: "empty-body", Detail: "no body"}}

	var got map[string]any
	if err := json.Unmarshal(p.JSON(), &got); err != nil {
		t.Fatal(err)
	}
	for member, want := range map[string]any{
		"type": "/problems/spool-full", "title": "The spool is full", "status": 503.0, "code": "spool-full",
		"detail": "spool is full (limit 42 bytes)", "retryable": true, "stored": false, "limit": 42.0, "retry_after_ms": 1500.0,
	} {
		if got[member] != want {
			t.Errorf("%s = %v, want %v", member, got[member], want)
		}
	}
	if got["hint"] == nil || len(got["errors"].([]any)) != 1 {
		t.Errorf("hint or errors missing: %v", got)
	}
	if p.RetryAfterSeconds() != 2 {
		t.Errorf("Retry-After = %d, want 1.5 s rounded up", p.RetryAfterSeconds())
	}
}

func TestStoredIsTrueFalseOrUnknown(t *testing.T) {
	for stored, want := range map[problem.Stored]string{
		problem.StoredYes: "true", problem.StoredNo: "false", problem.StoredUnknown: `"unknown"`, "": `"unknown"`,
	} {
		b, err := json.Marshal(stored)
		if err != nil || string(b) != want {
			t.Errorf("%q marshals to %s (%v), want %s", stored, b, err, want)
		}
	}
}

func TestUnknownCodeIsABug(t *testing.T) {
	if p := problem.New("never-heard-of", "x"); p.Code != problem.Internal || p.Stored != problem.StoredUnknown {
		t.Errorf("code %s, stored %s; want internal and unknown", p.Code, p.Stored)
	}
}
