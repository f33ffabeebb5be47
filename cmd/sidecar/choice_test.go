package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A flag or an argument that is given and empty, as by a variable of a script that is not
// set, is not taken for one that was left out: the command would mean more than it was told.
func TestAnEmptyChoiceIsNotTakenForAll(t *testing.T) {
	asked := 0
	side := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write([]byte(`{"items":[]}`))
	}))
	defer side.Close()
	for _, args := range [][]string{
		{"queue", "list", "--state", ""},
		{"queue", "cancel", "--topic", "", "--state", "delayed", "--yes"},
		{"queue", "hold", "--topic", "orders", "--older-than=", "--yes"},
		{"queue", "cancel", "", "--yes"},
		{"queue", "show", ""},
		{"queue", "resend", "--topic", "", "--since", "10m", "--yes"},
		{"queue", "resend", "--topic", "orders", "--since", "", "--yes"},
		{"queue", "resend", "--topic", "orders", "--id", "", "--yes"},
		{"dlq", "discard", "--group", "", "--all", "--yes"},
		{"dlq", "discard", "--topic", "", "--cause", "expired", "--yes"},
		{"dlq", "redrive", "", "--yes"},
		{"spool", "export", "file", "--topic", ""},
		{"spool", "export", ""},
		{"tx", "list", "--state", ""},
		{"tx", "rollback", "--dir", "", "id", "--yes"},
		{"tx", "commit", "", "--yes"},
		{"topic", "pause", ""},
		{"subscription", "pause", ""},
		{"operation", "stop", ""},
	} {
		var out, errOut bytes.Buffer
		code := execute(append(args, "--url", side.URL), strings.NewReader(""), &out, &errOut)
		if said := errOut.String(); code != exitUsage || asked != 0 || !strings.Contains(said, "empty") && !strings.Contains(said, errNothingChosen.Error()) {
			t.Errorf("%q: ended with %d, asked %d times, said %s%s", args, code, asked, said, out.String())
		}
		asked = 0
	}
}
