package kv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/testscale"
)

// flipInPlace flips a bit of a file that may be mapped.
func flipInPlace(t *testing.T, path string, at int64, bit int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] ^= 1 << bit
	_, err = f.WriteAt(b, at)
	must(t, errors.Join(err, f.Close()))
}

// scanned counts the pairs of 2,300 that a scan passes as they were written.
func scanned(db *DB, s Scan) (whole int, err error) {
	value := strings.Repeat("v", 1000)
	s.Prefix = []byte("key-")
	err = db.Scan(s, func(_, v []byte) (bool, error) {
		if string(v) == value {
			whole++
		}
		return true, nil
	})
	return whole, err
}

// blocksOf are the blocks of the largest table in a directory, and its path.
func blocksOf(t *testing.T, dir string) (path string, blocks []blockPlace) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	must(t, err)
	for _, name := range tables {
		f, err := os.Open(name)
		must(t, err)
		index, _, err := readIndex(f)
		must(t, errors.Join(err, f.Close()))
		if len(index.blocks) > len(blocks) {
			path, blocks = name, index.blocks
		}
	}
	if len(blocks) < 4 {
		t.Fatalf("no table of %s has more than %d blocks", dir, len(blocks))
	}
	return path, blocks
}

// A scan that asks for it gets an error in place of an end that is none: in a database
// that runs, and in one that is opened again.
func TestAScanThatEndsAtDamageSaysSo(t *testing.T) {
	for name, reopened := range map[string]bool{"running": false, "reopened": true} {
		t.Run(name, func(t *testing.T) {
			opts := testOptions(filepath.Join(t.TempDir(), "db"))
			filled(t, opts, 2300)
			path, blocks := blocksOf(t, opts.Dir)
			damage := func() { flipInPlace(t, path, blocks[1].to-4, 6) } // its checksum is longer than it
			if reopened {
				damage()
			}
			db := openTest(t, opts)
			if !reopened {
				if n, err := scanned(db, Scan{Whole: true}); n != 2300 || err != nil {
					t.Fatalf("before: %d, %v", n, err)
				}
				damage()
			}
			for _, s := range []Scan{{}, {Reverse: true}} {
				if n, err := scanned(db, s); n == 2300 || err != nil {
					t.Fatalf("%+v: %d of 2,300 and %v: it does not end in silence", s, n, err)
				}
				s.Whole = true
				if n, err := scanned(db, s); !errors.Is(err, ErrDamaged) {
					t.Errorf("%+v: %d of 2,300, and %v", s, n, err)
				}
			}
			first, err := firstKeys(db, Scan{Prefix: []byte("key-"), Whole: true}, 10)
			if err != nil || len(first) != 10 {
				t.Errorf("what is whole is not read: %q, %v", first, err)
			}
			must(t, db.Close())
			salvaged := openTest(t, opts)
			if d := salvaged.Damage(); d == nil || d.Found[0].File != filepath.Base(path) || d.Found[0].From != blocks[1].from {
				t.Errorf("the next open found %+v", d)
			}
		})
	}
}

func firstKeys(db *DB, s Scan, most int) (keys []string, err error) {
	err = db.Scan(s, func(k, _ []byte) (bool, error) {
		keys = append(keys, string(k))
		return len(keys) < most, nil
	})
	return keys, err
}

// Wherever a bit flips in the blocks of a running database, a scan has everything or
// says that it has not.
func TestScansUnderFlips(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 2300)
	path, blocks := blocksOf(t, opts.Dir)
	db := openTest(t, opts)
	rng := rand.New(rand.NewPCG(7, 7))
	silent, told := 0, 0
	for range testscale.Between(150, 5000) {
		b := blocks[rng.IntN(len(blocks))]
		at, bit := b.from+rng.Int64N(b.to-b.from), rng.IntN(8)
		if rng.IntN(2) == 0 { // its offsets, their number, its checksum
			at = b.to - 1 - rng.Int64N(300)
		}
		what := fmt.Sprintf("bit %d of byte %d", bit, at)
		s := Scan{Reverse: rng.IntN(2) == 0}
		flipInPlace(t, path, at, bit)
		if n, err := scanned(db, s); err == nil && n < 2300 {
			silent++
		}
		s.Whole = true
		if n, err := scanned(db, s); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %d of 2,300, and %v", what, n, err)
		} else {
			told++
		}
		flipInPlace(t, path, at, bit)
	}
	if n, err := scanned(db, Scan{Whole: true}); n != 2300 || err != nil {
		t.Errorf("undone: %d, %v", n, err)
	}
	t.Logf("%d flips told; without Whole %d are silent", told, silent)
	if silent == 0 {
		t.Error("no flip is silent without Whole: that is no test")
	}
}

// What a scan goes over is what is looked at: what lies beyond is not.
func TestWhatAScanGoesOver(t *testing.T) {
	for _, c := range []struct {
		s        Scan
		last     string
		from, to string
	}{
		{Scan{Prefix: []byte("b")}, "", "b", "c"},
		{Scan{Prefix: []byte("b")}, "b4", "b", "b4"},
		{Scan{Prefix: []byte("b"), From: []byte("b2")}, "b4", "b2", "b4"},
		{Scan{Prefix: []byte("b"), From: []byte("a")}, "", "b", "c"},
		{Scan{}, "", "", ""},
		{Scan{Prefix: []byte("b"), Reverse: true}, "", "b", "c"},
		{Scan{Prefix: []byte("b"), Reverse: true}, "b4", "b4", "c"},
		{Scan{Prefix: []byte("b"), Reverse: true, From: []byte("b6")}, "b4", "b4", "b6"},
		{Scan{Prefix: []byte("b"), Reverse: true, From: []byte("z")}, "", "b", "c"},
	} {
		var last []byte
		if c.last != "" {
			last = []byte(c.last)
		}
		if w := c.s.walked(last); string(w.from) != c.from || string(w.to) != c.to {
			t.Errorf("%+v ended at %q went over %q to %q, want %q to %q", c.s, c.last, w.from, w.to, c.from, c.to)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	opts := testOptions(filepath.Join(b.TempDir(), "db"))
	opts.MemTableSize = 0
	db := openTest(b, opts)
	q := Attach(db, &writer{})
	for i := 0; i < 40_000; i += 40 {
		w := &write{set: map[string]string{}}
		for j := range 40 {
			w.set[numbered(i+j)] = strings.Repeat("v", 1000)
		}
		mustCommit(b, q, w)
	}
	if err := db.flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, whole := range []bool{false, true} {
		for _, most := range []int{1, 40_000} {
			b.Run(fmt.Sprintf("whole=%t/keys=%d", whole, most), func(b *testing.B) {
				for b.Loop() {
					if keys, err := firstKeys(db, Scan{Prefix: []byte("key-"), Whole: whole}, most); err != nil || len(keys) != most {
						b.Fatal(len(keys), err)
					}
				}
			})
		}
	}
}

// What an opening has read of the tables is where they begin and end: so no scan has to
// look there again.
func TestAnOpeningKnowsWhereTablesEnd(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 2300)
	db := openTest(t, opts)
	tables, err := db.dir.liveTables(opts.Magic)
	must(t, err)
	if len(tables) < 2 {
		t.Fatalf("there are %d tables", len(tables))
	}
	for _, table := range tables {
		var keys [][]byte
		must(t, db.dir.readFile(table.name(), func(data []byte, _ []Finding) error {
			return tableReader{
				entry:  func(e tableEntry) error { keys = append(keys, e.key); return nil },
				broken: func(_, _ int64, why error) { t.Error(why) },
			}.read(data)
		}))
		known, ok := db.inventory.rangeOf(table)
		if !ok || string(known.first) != string(keys[0]) || string(known.last) != string(keys[len(keys)-1]) {
			t.Errorf("%s is known (%t) from %q to %q, and goes from %q to %q", table.name(), ok, known.first, known.last, keys[0], keys[len(keys)-1])
		}
	}
}
