package testscale

import "testing"

func TestBetween(t *testing.T) {
	for _, c := range []struct {
		short, long int
		place       float64
		want        int
	}{
		{20, 10_000, 0, 20}, {20, 10_000, 1, 10_000}, {20, 1020, 0.1, 120}, {34, 1, 0, 34}, {34, 1, 1, 1}, {31, 1, 0.5, 16}, {7, 7, 0.3, 7},
	} {
		if got := between(c.short, c.long, c.place); got != c.want {
			t.Errorf("between %d and %d at %v: %d, want %d", c.short, c.long, c.place, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]float64{"": 0, "0": 0, "1": 1, "0.25": 0.25} {
		if got, err := parse(text); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yes", "-1", "2", "NaN", "1e9"} {
		if got, err := parse(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}
