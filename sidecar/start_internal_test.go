package sidecar

import (
	"strings"
	"testing"
)

func TestStartsThatAreWarnings(t *testing.T) {
	for want, start := range map[string]Start{
		"":                         {GroupIsNew: true, Waiting: farBehind},
		"skips 1 messages":         {GroupIsNew: true, Skipped: 1, Waiting: 20_000, From: "latest"},
		"10001 messages wait":      {Waiting: farBehind + 1},
		"1 of them for more than ": {Waiting: 5, WaitingForDay: 1},
	} {
		if got := start.warning(); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%+v: %q, want %q", start, got, want)
		}
	}
}
