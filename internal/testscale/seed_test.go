package testscale

import "testing"

func TestNamedSeed(t *testing.T) {
	for text, want := range map[string]uint64{"": 0, "0": 0, "7": 7, "100000": 100_000} {
		t.Setenv(SeedVariable, text)
		if got := NamedSeed(t); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
