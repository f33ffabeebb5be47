package main

import (
	"strings"
	"testing"
)

// What a problem says in its title and again in its detail is said once.
func TestProblemsAreSaidOnce(t *testing.T) {
	for body, want := range map[string]string{
		`{"code":"wrong-state","title":"The state does not allow this","detail":"the state does not allow this: it is delayed"}`: "409 wrong-state: the state does not allow this: it is delayed",
		`{"code":"not-found","title":"There is no such message","detail":"\"x\" is no message ID","hint":"Look."}`:               "409 not-found: There is no such message: \"x\" is no message ID\nLook.",
		`{"code":"busy","title":"Too much to do"}`: "409 busy: Too much to do",
		`nonsense`: `the sidecar answered 409: "nonsense"`,
	} {
		if got := (reply{status: 409, body: []byte(body)}).problem().Error(); strings.TrimSpace(got) != want {
			t.Errorf("%s is said as %q, want %q", body, got, want)
		}
	}
}
