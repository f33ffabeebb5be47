package broker

import (
	"testing"
	"time"
)

// A group is new where it was in no queue of the topic, and also where the topic has no
// queue yet; one that was in any of them goes on.
func TestStartOf(t *testing.T) {
	first := func(_ int, p Place) int64 { return p.First }
	for name, tc := range map[string]struct {
		places []Place
		want   Start
	}{
		"no queue yet": {nil, Start{New: true}},
		"in none":      {[]Place{{Next: -1, First: 2, At: 5, End: 9}, {Next: -1}}, Start{New: true, Waiting: 7, Old: 3}},
		"in one":       {[]Place{{Next: -1, End: 3}, {Next: 0, First: 1, End: 2}}, Start{Waiting: 4}},
	} {
		if got := StartOf(tc.places, time.Time{}, first); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}
