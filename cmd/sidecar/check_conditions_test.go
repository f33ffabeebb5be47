package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// 'check' tells what a condition is the case for.
func TestCheckTellsTheDetailOfACondition(t *testing.T) {
	health := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"conditions":[{"name":"send-back-refused","is":true,"since":"2026-01-02T03:04:05Z","means":"it is held","do":"mend it","detail":"billing: 3 of its messages"}]}`))
	}))
	defer health.Close()
	c, err := newClient(health.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	var f findings
	lookAtConditions(t.Context(), &f, c)
	if len(f) != 1 || !strings.HasSuffix(f[0].Text, "it is held (billing: 3 of its messages)") || f[0].Hint != "mend it" {
		t.Errorf("found %+v", f)
	}
}
