package backoff_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/internal/backoff"
)

// edge answers every question with the same end of the range.
type edge bool

func (high edge) Int64N(n int64) int64 {
	if high {
		return n - 1
	}
	return 0
}

const forever = time.Duration(math.MaxInt64)

func TestCeiling(t *testing.T) {
	tests := []struct {
		name    string
		policy  backoff.Policy
		attempt int
		want    time.Duration
	}{
		{"first attempt waits the initial time", backoff.Policy{Initial: 100 * time.Millisecond, Max: time.Minute}, 1, 100 * time.Millisecond},
		{"second doubles", backoff.Policy{Initial: 100 * time.Millisecond, Max: time.Minute}, 2, 200 * time.Millisecond},
		{"fifth is sixteen times", backoff.Policy{Initial: 100 * time.Millisecond, Max: time.Minute}, 5, 1600 * time.Millisecond},
		{"max is reached, not passed", backoff.Policy{Initial: time.Second, Max: 30 * time.Second}, 6, 30 * time.Second},
		{"far attempts stay at max", backoff.Policy{Initial: time.Second, Max: 30 * time.Second}, math.MaxInt, 30 * time.Second},
		{"no overflow", backoff.Policy{Initial: 1, Max: forever}, math.MaxInt, forever},
		{"attempt 0 counts as the first", backoff.Policy{Initial: time.Second, Max: time.Minute}, 0, time.Second},
		{"negative attempt too", backoff.Policy{Initial: time.Second, Max: time.Minute}, math.MinInt, time.Second},
		{"initial above max is cut", backoff.Policy{Initial: time.Hour, Max: time.Second}, 1, time.Second},
		{"no max means constant", backoff.Policy{Initial: time.Second}, 9, time.Second},
		{"zero policy never waits", backoff.Policy{}, 5, 0},
		{"only a max never waits", backoff.Policy{Max: time.Second}, 5, 0},
		{"negative initial never waits", backoff.Policy{Initial: -time.Second, Max: time.Second}, 5, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.policy.Ceiling(tt.attempt); got != tt.want {
				t.Errorf("Ceiling(%d) = %v, want %v", tt.attempt, got, tt.want)
			}
		})
	}
}

func TestDelayJittersBetweenHalfAndAll(t *testing.T) {
	policy := backoff.Policy{Initial: 100 * time.Millisecond, Max: 30 * time.Second}
	for attempt, ceiling := range map[int]time.Duration{
		1: 100 * time.Millisecond, 3: 400 * time.Millisecond, 50: 30 * time.Second,
	} {
		if got := policy.Delay(attempt, edge(false)); got != ceiling/2 {
			t.Errorf("shortest Delay(%d) = %v, want %v", attempt, got, ceiling/2)
		}
		if got := policy.Delay(attempt, edge(true)); got != ceiling {
			t.Errorf("longest Delay(%d) = %v, want %v", attempt, got, ceiling)
		}
	}
	if got := (backoff.Policy{}).Delay(3, edge(true)); got != 0 {
		t.Errorf("zero policy waits %v, want 0", got)
	}
}

func TestDelayIsBoundedForEveryPolicy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := backoff.Policy{
			Initial: time.Duration(rapid.Int64().Draw(t, "initial")),
			Max:     time.Duration(rapid.Int64().Draw(t, "max")),
		}
		attempt := rapid.Int().Draw(t, "attempt")
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))

		ceiling := policy.Ceiling(attempt)
		got := policy.Delay(attempt, rnd)
		if got < ceiling/2 || got > ceiling {
			t.Fatalf("Delay(%d) = %v, want within [%v, %v]", attempt, got, ceiling/2, ceiling)
		}
		if policy.Max > 0 && got > policy.Max {
			t.Fatalf("Delay(%d) = %v, want at most %v", attempt, got, policy.Max)
		}
	})
}

func TestCeilingNeverShrinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := backoff.Policy{
			Initial: time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "initial")),
			Max:     time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "max")),
		}
		attempt := rapid.IntRange(1, 200).Draw(t, "attempt")
		if now, next := policy.Ceiling(attempt), policy.Ceiling(attempt+1); next < now {
			t.Fatalf("Ceiling(%d) = %v, but Ceiling(%d) = %v", attempt, now, attempt+1, next)
		}
	})
}

func ExamplePolicy_Ceiling() {
	policy := backoff.Policy{Initial: 100 * time.Millisecond, Max: time.Second}
	for attempt := 1; attempt <= 5; attempt++ {
		fmt.Println(attempt, policy.Ceiling(attempt))
	}
	// Output:
	// 1 100ms
	// 2 200ms
	// 3 400ms
	// 4 800ms
	// 5 1s
}
