package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A sidecar that goes while operations are stopped: those that have ended are told.
func TestStoppingOperationsOfASidecarThatGoes(t *testing.T) {
	side := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/operations/A/stop" {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, `{"id":"A","kind":"discard","state":"stopped"}`)
	}))
	defer side.Close()
	if code, out, says := say("operation", "stop", "A", "B", "C", "--url", side.URL); code != exitPartly || !strings.Contains(out, "A ") || !strings.Contains(says, "1 of 3 operations have ended: cannot reach") {
		t.Errorf("ended with %d: %s%s", code, out, says)
	}
	if code, _, says := say("operation", "stop", "B", "A", "--url", side.URL); code != exitUnreachable {
		t.Errorf("ended with %d: %s", code, says)
	}
}
