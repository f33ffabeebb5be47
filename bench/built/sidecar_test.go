package built

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func script(t *testing.T, text string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "sidecar")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return program
}

func TestOneThatEndsSaysWhy(t *testing.T) {
	_, err := Start(t.Context(), script(t, "echo no room; exit 3\n"), t.TempDir())
	for _, want := range []string{"ended at once", "no room"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestReadyTellsTheAddresses(t *testing.T) {
	s, err := Start(t.Context(), script(t, `trap 'exit 0' TERM
echo '{"msg":"opening"}'
echo '{"msg":"ready","data":["127.0.0.1:1"],"admin":"127.0.0.1:2","health":"127.0.0.1:3"}'
while :; do sleep 0.01; done
`), t.TempDir(), "a=b")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Data, []string{"127.0.0.1:1"}) || s.Admin != "127.0.0.1:2" || s.Health != "127.0.0.1:3" {
		t.Errorf("%+v", s.Addresses)
	}
	if err := s.End(); err != nil {
		t.Error(err)
	}
}

func TestValues(t *testing.T) {
	const page = "a_total 1\na_total{b=\"c\"} 2.5e+06\n# HELP a_sum 9\na_sum 3\n"
	got, err := valuesOf(page, []string{"a_sum", `a_total{b="c"}`, "a_total"})
	if err != nil || !slices.Equal(got, []float64{3, 2.5e6, 1}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := valuesOf(page, []string{"a"}); err == nil {
		t.Errorf("%v of a series that is not there", got)
	}
}
