package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
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

// A bit that flips in a key makes another one of it, which may be far before or behind
// where it stands: a scan around it passes nothing twice or out of order, and all that is
// not in the block.
func TestScansGoOnBehindKeysThatAreOthers(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 2300)
	path, blocks := blocksOf(t, opts.Dir)
	db := openTest(t, opts)
	data, err := os.ReadFile(path)
	must(t, err)
	all, _, err := around(db, "")
	must(t, err)
	rng := rand.New(rand.NewPCG(3, 5))
	for range testscale.Between(60, 2000) {
		n := rng.IntN(len(blocks) - 1)
		b := blocks[n]
		key, version := userKey(b.key), b.key[len(b.key)-versionSize:]
		places := allOf(data[b.from:b.to], version[:4]) // the number of each key stands before
		at, bit := b.from+places[rng.IntN(len(places))]-1-rng.Int64N(3), rng.IntN(8)
		what := fmt.Sprintf("bit %d of byte %d, %q", bit, at, data[at])
		flipInPlace(t, path, at, bit)
		first, _ := slices.BinarySearch(all, string(key))
		next, _ := slices.BinarySearch(all, string(userKey(blocks[n+1].key)))
		got, gaps, err := around(db, "")
		if err != nil || gaps != 1 {
			t.Errorf("%s: %d gaps, %v", what, gaps, err)
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("%s: not in order, or twice", what)
		}
		slices.Sort(got)
		for i, k := range all {
			if found, _ := slices.BinarySearch(got, k); (i < first || i > next) && (found == len(got) || got[found] != k) {
				t.Fatalf("%s: %s is not passed; the block is from %s to %s", what, k, all[first], all[next])
			}
		}
		flipInPlace(t, path, at, bit)
	}
}

// allOf are the places of a text in data.
func allOf(data, text []byte) (at []int64) {
	for from := 0; ; from++ {
		i := bytes.Index(data[from:], text)
		if i < 0 {
			return at
		}
		from += i
		at = append(at, int64(from))
	}
}

// A bit that flips in a value harms no other but the key behind the block, and who ends a
// scan behind it is told of it.
func TestAScanThatIsEndedBehindDamageSaysSo(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 2300)
	path, blocks := blocksOf(t, opts.Dir)
	db := openTest(t, opts)
	n := len(blocks) / 2
	flipInPlace(t, path, blocks[n].from+500, 3) // in a value
	all, gaps := []string(nil), 0
	err := db.Scan(Scan{Prefix: []byte("key-"), KeysOnly: true}, func(k, _ []byte) (bool, error) {
		all = append(all, string(k))
		return true, nil
	})
	must(t, err)
	next, _ := slices.BinarySearch(all, string(userKey(blocks[n+1].key)))
	if got, gaps, err := around(db, ""); err != nil || gaps != 1 || len(got) < len(all)-2 {
		t.Errorf("%d of %d, %d gaps, %v", len(got), len(all), gaps, err)
	}
	s := Scan{Prefix: []byte("key-"), From: userKey(blocks[n].key), Whole: true, Around: func(error) { gaps++ }}
	first, _ := slices.BinarySearch(all, string(s.From))
	var got []string
	err = db.Scan(s, func(k, _ []byte) (bool, error) {
		got = append(got, string(k))
		return len(got) < next-first, nil
	})
	if err != nil || gaps != 1 || !slices.Equal(got, all[first:next]) {
		t.Errorf("%d gaps, %v, %d of %d keys of the block, up to %s", gaps, err, len(got), next-first, got[len(got)-1])
	}
}
