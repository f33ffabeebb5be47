package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSpansAgainstSets: what is done with ranges is what is done with numbers.
func TestSpansAgainstSets(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		a, inA := someSpans(random)
		b, inB := someSpans(random)
		from, to := 1+random.Uint64N(40), 1+random.Uint64N(40)
		var minus, within []uint64
		for n := range uint64(64) {
			if inA[n] && !inB[n] {
				minus = append(minus, n)
			}
			if inA[n] && n >= from && n <= to {
				within = append(within, n)
			}
		}
		if got := numbersIn(a.minus(b)); !slices.Equal(got, minus) {
			t.Fatalf("%s without %s: %v, want %v", a, b, got, minus)
		}
		if got := numbersIn(a.within(from, to)); !slices.Equal(got, within) || a.within(from, to).count() != uint64(len(within)) {
			t.Fatalf("%s from %d to %d: %v, want %v", a, from, to, got, within)
		}
	}
	if text := fmt.Sprint(spansOf([]span{{7, 9}, {1, 1}, {3, 4}, {5, 6}})); text != "1,3-9" {
		t.Errorf("written as %s", text)
	}
}

func someSpans(random *rand.Rand) (spans, map[uint64]bool) {
	var all []span
	in := map[uint64]bool{}
	for range random.IntN(6) {
		s := span{1 + random.Uint64N(40), 0}
		s.last = s.first + random.Uint64N(6)
		all = append(all, s)
		for n := s.first; n <= s.last; n++ {
			in[n] = true
		}
	}
	return spansOf(all), in
}

func numbersIn(s spans) (all []uint64) {
	for _, x := range s {
		for n := x.first; n <= x.last; n++ {
			all = append(all, n)
		}
	}
	return all
}
