package kv

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/remora-mq/remora/internal/testscale"
)

// stratum is a kind of place in a directory where a bit can flip.
type stratum struct {
	name string
	deep bool // seen at Open only when a start died before
	at   func(t *testing.T, rng *rand.Rand, d damaged) (path string, at int)
}

func strata() []stratum {
	within := func(rng *rand.Rand, from, to int) int { return from + rng.IntN(to-from) }
	table := func(t *testing.T, rng *rand.Rand, d damaged) (path string, size, blocks int) {
		t.Helper()
		tables, err := filepath.Glob(d.file("*.sst"))
		must(t, err)
		path = tables[rng.IntN(len(tables))]
		data, err := os.ReadFile(path)
		must(t, err)
		_, blocks, err = splitTable(data)
		must(t, err)
		return path, len(data), blocks
	}
	whole := func(name string) func(*testing.T, *rand.Rand, damaged) (string, int) {
		return func(t *testing.T, rng *rand.Rand, d damaged) (string, int) {
			t.Helper()
			st, err := os.Stat(d.file(name))
			must(t, err)
			return d.file(name), rng.IntN(int(st.Size()))
		}
	}
	return []stratum{
		{"log", false, func(t *testing.T, rng *rand.Rand, d damaged) (string, int) {
			t.Helper()
			data, err := os.ReadFile(d.log)
			must(t, err)
			return d.log, within(rng, 0, len(strings.TrimRight(string(data), "\x00")))
		}},
		{"table blocks", true, func(t *testing.T, rng *rand.Rand, d damaged) (string, int) {
			t.Helper()
			path, _, blocks := table(t, rng, d)
			return path, within(rng, 0, blocks)
		}},
		{"table index", false, func(t *testing.T, rng *rand.Rand, d damaged) (string, int) {
			t.Helper()
			path, size, blocks := table(t, rng, d)
			return path, within(rng, blocks, size-20)
		}},
		{"table footer", false, func(t *testing.T, rng *rand.Rand, d damaged) (string, int) {
			t.Helper()
			path, size, _ := table(t, rng, d)
			return path, within(rng, size-20, size)
		}},
		{"manifest", false, whole(badger.ManifestFilename)},
		{"head", false, func(t *testing.T, rng *rand.Rand, d damaged) (string, int) {
			t.Helper()
			return d.file(headName), rng.IntN(2)*headSlot + rng.IntN(headSize)
		}},
	}
}

// TestFlipsAreReportedOrHarmless flips a bit, or cuts a file there, and opens
// the database: it says so and has nearly everything, or it has everything.
func TestFlipsAreReportedOrHarmless(t *testing.T) {
	original := newDamaged(t)
	rng := rand.New(rand.NewPCG(11, 11+testscale.NamedSeed(t)))
	for _, s := range strata() {
		reported, harmless, cut, n := 0, 0, 0, testscale.Between(8, 500)
		for range n {
			d := original.copy(t)
			path, at := s.at(t, rng, d)
			what := fmt.Sprintf("flip at byte %d", at)
			if rng.IntN(4) == 0 {
				what = fmt.Sprintf("cut at byte %d", at)
				cut++
				must(t, os.Truncate(path, int64(at)))
			} else {
				flip(t, path, at)
			}
			if s.deep {
				must(t, os.WriteFile(d.file(startsName), []byte("1"), 0o600))
			}
			if reports(t, d, what+" of "+filepath.Base(path)) {
				reported++
			} else {
				harmless++
			}
			must(t, os.RemoveAll(filepath.Dir(d.opts.Dir)))
		}
		t.Logf("%s: %d, %d of them cuts: %d reported, %d harmless", s.name, n, cut, reported, harmless)
		if s.name != "head" && harmless*2 > n { // the head's other slot has the same
			t.Errorf("%s: more than half is harmless: that is no test", s.name)
		}
	}
}

// reports opens a damaged database and demands that it is whole unless it says
// that it is not.
func reports(t *testing.T, d damaged, what string) bool {
	t.Helper()
	db, err := Open(t.Context(), d.opts)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return false
	}
	keys, wrong := 0, 0
	want := strings.Repeat("v", 1000)
	err = db.Scan(Scan{}, func(_, v []byte) (bool, error) {
		keys++
		if string(v) != want {
			wrong++
		}
		return true, nil
	})
	report := db.Damage()
	if err != nil || wrong > 0 || report == nil && keys != 2500 {
		t.Errorf("%s: %d keys, %d wrong, %v; reported %+v", what, keys, wrong, err, report)
	}
	must(t, db.Close())
	return report != nil
}
