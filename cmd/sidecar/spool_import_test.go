package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// A line that is whole, and does not fit where it is taken in, is named; the exit code says
// that the rest is there, or that it can be.
func TestLinesThatDoNotFitAreNamed(t *testing.T) {
	dir, _ := deadIn(t)
	file := filepath.Join(t.TempDir(), "export")
	if code, _, says := say("spool", "export", file, "--dir", dir); code != 0 {
		t.Fatal(says)
	}
	const line = "line 4: transaction tx: too large to be stored: 3 bytes of one commit, and 2 are the most"
	for name, tc := range map[string]struct {
		flags  []string
		status int
		answer string
		code   int
		says   []string
		not    string
	}{
		"the rest is there": {[]string{"--partial"}, 200, fmt.Sprintf(`{"imported":3,"refused":1,"unfit":[%q]}`, line), exitPartly, []string{line, "1 lines were passed over"}, "takes in"},
		"it is refused":     {nil, 400, fmt.Sprintf(`{"code":"invalid-batch","title":"The batch is invalid","detail":%q,"hint":"with --partial"}`, line), exitPartly, []string{line, "with --partial"}, "takes in"},
		"another refusal":   {nil, 400, `{"code":"invalid-option","title":"The option is invalid","detail":"partial is wrong"}`, exitFailed, []string{"partial is wrong"}, "--partial"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if want := map[bool]string{true: "true"}[len(tc.flags) > 0]; r.URL.Query().Get("partial") != want {
					t.Errorf("asked for %s", r.URL)
				}
				w.WriteHeader(tc.status)
				_, _ = fmt.Fprint(w, tc.answer)
			}))
			defer server.Close()
			code, _, says := say(append([]string{"spool", "import", file, "--yes", "--url", server.URL}, tc.flags...)...)
			if code != tc.code || strings.Contains(says, tc.not) {
				t.Errorf("exit code %d: %s", code, says)
			}
			for _, want := range tc.says {
				if !strings.Contains(says, want) {
					t.Errorf("it says %s; want %q", says, want)
				}
			}
		})
	}
}
