package testscale

import (
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// SeedVariable is the name of the environment variable that repeats a run.
const SeedVariable = "REMORA_SEED"

// Seed is what SeedVariable names, or else one of the clock, below the bound.
// Schedules follow from it, and nothing that the system schedules does.
func Seed(t testing.TB, below uint64) (seed uint64, named bool) {
	t.Helper()
	text := os.Getenv(SeedVariable)
	if text == "" {
		return uint64(time.Now().UnixNano()) % below, false
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", SeedVariable, err)
	}
	return seed, true
}

// NamedSeed is what SeedVariable names, or else 0: for tests that do the same each
// time, and something else where it is asked for.
func NamedSeed(t testing.TB) uint64 {
	t.Helper()
	seed, named := Seed(t, 1)
	if named {
		t.Logf("seed %d", seed)
	}
	return seed
}

// PrintedSeed is Seed, told in the test's log.
func PrintedSeed(t testing.TB) uint64 {
	t.Helper()
	seed, _ := Seed(t, 1_000_000)
	t.Logf("seed %d; %s=%d repeats it", seed, SeedVariable, seed)
	return seed
}

// Seeds calls do in a bubble for each of so many seeds, from one of the clock on; for
// the one that SeedVariable names alone. The seed of a run that fails is told.
func Seeds(t *testing.T, runs int, do func(t *testing.T, seed uint64)) {
	t.Helper()
	first, named := Seed(t, 1_000_000_000)
	if named {
		runs = 1
	}
	for n := range uint64(runs) {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d; %s=%d repeats it", first+n, SeedVariable, first+n)
				}
			}()
			do(t, first+n)
		})
	}
	t.Logf("%d seeds from %d", runs, first)
}
