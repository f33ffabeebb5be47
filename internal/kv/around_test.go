package kv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/testscale"
)

// around scans 2,300 pairs around what is damaged, and returns the keys of those that
// are as they were written.
func around(db *DB, from string) (keys []string, gaps int, err error) {
	value := strings.Repeat("v", 1000)
	s := Scan{Prefix: []byte("key-"), From: []byte(from), Whole: true, Around: func(error) { gaps++ }}
	err = db.Scan(s, func(k, v []byte) (bool, error) {
		if string(v) == value {
			keys = append(keys, string(k))
		}
		return true, nil
	})
	return keys, gaps, err
}

// Wherever a bit flips in the blocks of a running database, a scan around it has all but
// what is in the block, and the key behind it, once and in order.
func TestScansGoOnBehindDamage(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 2300)
	path, blocks := blocksOf(t, opts.Dir)
	db := openTest(t, opts)
	rng := rand.New(rand.NewPCG(7, 11))
	all, gaps, err := around(db, "")
	if len(all) != 2300 || gaps != 0 || err != nil {
		t.Fatalf("before: %d keys, %d gaps, %v", len(all), gaps, err)
	}
	panicked := 0
	for range testscale.Between(150, 5000) {
		n := rng.IntN(len(blocks) - 1)
		b := blocks[n]
		at, bit := b.from+rng.Int64N(b.to-b.from), rng.IntN(8)
		if rng.IntN(2) == 0 { // its offsets, their number, its checksum
			at = b.to - 1 - rng.Int64N(300)
		}
		what := fmt.Sprintf("bit %d of byte %d", bit, at)
		flipInPlace(t, path, at, bit)
		if err := db.Scan(Scan{Prefix: []byte("key-")}, func(_, _ []byte) (bool, error) { return true, nil }); errors.Is(err, ErrDamaged) {
			panicked++
		}
		first, _ := slices.BinarySearch(all, string(userKey(b.key)))
		next, _ := slices.BinarySearch(all, string(userKey(blocks[n+1].key)))
		got, gaps, err := around(db, "")
		if err != nil || gaps != 1 {
			t.Errorf("%s: %d gaps, %v", what, gaps, err)
		}
		for i, k := range all {
			if found, _ := slices.BinarySearch(got, k); (i < first || i > next) && (found == len(got) || got[found] != k) {
				t.Fatalf("%s: %s is not passed; the block is from %s to %s", what, k, all[first], all[next])
			}
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("%s: not in order, or twice", what)
		}
		flipInPlace(t, path, at, bit)
	}
	if panicked == 0 {
		t.Error("Badger has met none of it with a panic")
	}
}
