package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// keptOwner is an owner whose values are runs: a length of two bytes, its
// bytes, their checksum. One that is whole, and begins with the key, proves it.
type keptOwner struct{}

func (keptOwner) Admits(context.Context, *Closed) ([]byte, error) { return nil, nil }

func (keptOwner) Runs(_, value []byte) (runs []Run) {
	for at := 0; len(value)-at >= 2+crcSize; {
		end := min(at+2+int(binary.BigEndian.Uint16(value[at:]))+crcSize, len(value))
		runs = append(runs, Run{at, end})
		at = end
	}
	return runs
}

func (keptOwner) Proves(key, value []byte) bool {
	runs := keptOwner{}.Runs(key, value)
	if len(runs) == 0 || runs[len(runs)-1].To < len(value) || !bytes.HasPrefix(value[2:], key) {
		return false
	}
	return !slices.ContainsFunc(runs, func(r Run) bool { return !holds(value[r.From:r.To]) })
}

func holds(run []byte) bool {
	end := len(run) - crcSize
	return crc32.Checksum(run[:end], castagnoli) == binary.LittleEndian.Uint32(run[end:])
}

// kept makes a value of runs of these lengths, the first of which names its key.
func kept(key string, version int, lengths ...int) string {
	var b []byte
	for n, length := range lengths {
		at := len(b)
		text := fmt.Sprintf("%s version %d run %d ", key, version, n)
		body := []byte(strings.Repeat(text, length/len(text)+1))
		b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
		b = append(b, body...)
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	}
	return string(b)
}

// keptTable is a table of many blocks that holds versions and deletions.
func keptTable(t *testing.T) (data []byte, entries []tableEntry) {
	t.Helper()
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	db, err := Open(t.Context(), opts)
	must(t, err)
	q, rng := Attach(db, &writer{}), rand.New(rand.NewPCG(3, 3))
	for version := range 3 {
		for n := range 60 {
			key := numbered(n)
			w := &write{delete: []string{key}}
			if rng.IntN(4) > 0 {
				w = put(key, kept(key, version, rng.IntN(900), rng.IntN(900), rng.IntN(900)))
			}
			mustCommit(t, q, w)
		}
	}
	must(t, db.Close())
	data, err = os.ReadFile(aTable(t, opts.Dir))
	must(t, err)
	must(t, tableReader{entry: func(e tableEntry) error { entries = append(entries, e); return nil }, broken: func(from, to int64, why error) { t.Fatal(from, to, why) }}.read(data))
	return data, entries
}

// versioned is a version of a key.
type versioned struct {
	key     string
	version uint64
}

func byVersion(entries []tableEntry) map[versioned]tableEntry {
	all := map[versioned]tableEntry{}
	for _, e := range entries {
		all[versioned{string(e.key), e.version}] = e
	}
	return all
}

// TestDamageInAValueCostsThatValue flips each bit, now and then, of the blocks
// of a table. In a value it costs the run that it hits, which is given back as
// it was found; every other version and deletion is there. Elsewhere it costs
// what is not certain any more. Nothing is told that nobody wrote.
func TestDamageInAValueCostsThatValue(t *testing.T) {
	data, entries := keptTable(t)
	want := byVersion(entries)
	_, blocks, err := splitTable(data)
	must(t, err)
	rng, inValue, elsewhere, missing := rand.New(rand.NewPCG(4, 4)), 0, 0, 0
	for at := 0; at < blocks; at += 1 + rng.IntN(400) {
		bit := byte(1) << rng.IntN(8)
		data[at] ^= bit
		var got []tableEntry
		must(t, tableReader{
			entry:  func(e tableEntry) error { got = append(got, e); return nil },
			broken: func(int64, int64, error) {},
			owner:  keptOwner{},
		}.read(data))
		data[at] ^= bit
		damaged, unknown := differing(want, got)
		if len(unknown) > 0 {
			t.Fatalf("flip at %d: %v was never written", at, unknown)
		}
		switch gone := len(want) - len(got); {
		case len(damaged) == 1 && gone == 0:
			inValue++
		case len(damaged) > 1:
			t.Errorf("flip at %d: %v differ, %d are gone", at, damaged, gone)
		default:
			elsewhere++
			if gone > 0 { // in the length of a run: this owner does not find the next one
				missing++
			}
		}
	}
	t.Logf("%d flips in values; %d elsewhere; %d cost other versions", inValue, elsewhere, missing)
	if inValue < 9*elsewhere || missing > elsewhere/5 {
		t.Error("nine in ten bytes are values, and the others can be put right")
	}
}

// differing compares what was told with what was written: versions whose value is
// another, or was cut off elsewhere, and those that nobody wrote. A value that proves
// its key may have another version.
func differing(want map[versioned]tableEntry, got []tableEntry) (damaged, unknown []versioned) {
	values := map[string]bool{}
	for _, e := range want {
		values[string(e.value)] = true
	}
	for _, e := range got {
		v := versioned{string(e.key), e.version}
		w, known := want[v]
		switch {
		case !e.deleted && values[string(e.value)] && keptOwner{}.Proves(e.key, e.value):
		case !known || w.deleted != e.deleted:
			unknown = append(unknown, v)
		case !bytes.Equal(w.value, e.value):
			damaged = append(damaged, v)
		}
	}
	return damaged, unknown
}

// TestDamageOfManyKindsTellsNothingWrong spoils runs of bytes of any length.
func TestDamageOfManyKindsTellsNothingWrong(t *testing.T) {
	data, entries := keptTable(t)
	want := byVersion(entries)
	_, blocks, err := splitTable(data)
	must(t, err)
	rng, kept := rand.New(rand.NewPCG(5, 5)), 0
	for range 500 {
		spoiled := bytes.Clone(data)
		for range 1 + rng.IntN(3) {
			at, n := rng.IntN(blocks), 1+rng.IntN(1<<rng.IntN(13))
			for i := at; i < min(at+n, blocks); i++ {
				spoiled[i] = byte(rng.Uint32())
			}
		}
		var got []tableEntry
		must(t, tableReader{
			entry:  func(e tableEntry) error { got = append(got, e); return nil },
			broken: func(int64, int64, error) {},
			owner:  keptOwner{},
		}.read(spoiled))
		kept += len(got)
		if _, unknown := differing(want, got); len(unknown) > 0 {
			t.Fatalf("%v was never written", unknown)
		}
	}
	if t.Logf("%d of %d versions were kept", kept, 500*len(want)); kept < 500*len(want)/2 {
		t.Error("less than half was kept")
	}
}

// TestWhatWasDamagedBeforeIsNotMended: a value is stored as damaged as it was
// found, and a later bit flips in another one.
func TestWhatWasDamagedBeforeIsNotMended(t *testing.T) {
	b := []byte("head" + kept("a", 1, 50) + "between" + kept("b", 1, 50) + "end")
	a := Run{4, 4 + len(kept("a", 1, 50))}
	runs := []Run{a, {a.To + 7, len(b) - 3}}
	b[10] ^= 1
	sum := crc32.Checksum(b, castagnoli)
	b[a.To+20] ^= 4
	whole := func() bool { return crc32.Checksum(b, castagnoli) == sum }
	was := bytes.Clone(b)
	if !proven(b, runs, whole) || !bytes.Equal(b, was) {
		t.Error("the second flip is not found to lie in a run")
	}
	b[a.To+3] ^= 1
	if proven(b, runs, whole) {
		t.Error("a flip between the runs is taken for one in them")
	}
}

// TestMendedDatabaseKeepsItsNewestVersions opens a database whose table, or log,
// has a flipped bit in a value: its other keys are as they were, deletions
// included, and the value is what is on the disk, and no older one.
func TestMendedDatabaseKeepsItsNewestVersions(t *testing.T) {
	for _, in := range []string{"a table", "a log"} {
		t.Run(in, func(t *testing.T) {
			opts := testOptions(filepath.Join(t.TempDir(), "db"))
			opts.Owner = keptOwner{}
			db, err := Open(t.Context(), opts)
			must(t, err)
			q, want := Attach(db, &writer{}), map[string]string{}
			for version := range 2 {
				for n := range 30 {
					key := numbered(n)
					want[key] = kept(key, version, 300, 300, 300)
					mustCommit(t, q, put(key, want[key]))
				}
			}
			mustCommit(t, q, &write{delete: []string{numbered(3), numbered(4)}})
			delete(want, numbered(3))
			delete(want, numbered(4))
			if in == "a log" {
				<-db.keeper.end()
				must(t, db.keeper.note())
				opts.Dir = killed(t, opts.Dir)
				must(t, db.Close())
			} else {
				must(t, db.Close())
				must(t, os.WriteFile(filepath.Join(opts.Dir, startsName), []byte("1"), 0o600))
			}
			hit := numbered(7)
			flipText(t, opts.Dir, hit+" version 1 run 1")
			db = openTest(t, opts)
			d := db.Damage()
			if d == nil || len(d.Found) == 0 {
				t.Fatalf("%+v", d)
			}
			got := map[string]string{}
			must(t, db.Scan(Scan{Prefix: []byte("key-")}, func(k, v []byte) (bool, error) { got[string(k)] = string(v); return true, nil }))
			if d := diffBits(got[hit], want[hit]); d != 1 {
				t.Errorf("what was hit differs in %d bits: %.80q", d, got[hit])
			}
			got[hit] = want[hit]
			if !maps.Equal(got, want) {
				t.Errorf("%d keys, want %d", len(got), len(want))
			}
			if in == "a log" && !slices.Contains(d.Lost, CommitRange{38, 38}) {
				t.Errorf("lost %v, not the commit that was hit", d.Lost)
			}
		})
	}
}

func diffBits(a, b string) (n int) {
	if len(a) != len(b) {
		return -1
	}
	for i := range len(a) {
		for x := a[i] ^ b[i]; x != 0; x &= x - 1 {
			n++
		}
	}
	return n
}

// flipText flips a bit of the last place in a table or a log that holds text.
func flipText(t *testing.T, dir, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.[sm][se][tm]"))
	must(t, err)
	for _, path := range files {
		data, err := os.ReadFile(path)
		must(t, err)
		if at := bytes.LastIndex(data, []byte(text)); at >= 0 {
			flip(t, path, at)
			return
		}
	}
	t.Fatal(errors.New("no file holds it"), files)
}

// TestTornEndIsNotMended: the last commit was never acknowledged, whatever could
// be shown of it.
func TestTornEndIsNotMended(t *testing.T) {
	for name, versionOf := range versionings {
		s, log, last := newSeals(), make([]byte, walHeader), 0
		for number := uint64(1); number <= 3; number++ {
			version := versionOf(number)
			last = len(log)
			log = appendEntry(log, bitTxn, []byte("key"), version, []byte(kept("key", int(version), 500)))
			log = appendEnd(appendEntry(log, bitTxn, sealKey, version, s.of(number)), version)
		}
		at := last + bytes.Index(log[last:], []byte("version "))
		clear(log[at : at+100])
		for limit, want := range map[uint64][]uint64{3: nil, 4: {3}} {
			if got := mendLog(bytes.Clone(log), keptOwner{}, limit); !slices.Equal(got, want) {
				t.Errorf("%s: limit %d: commits %v are mended, want %v", name, limit, got, want)
			}
		}
	}
}

// TestFlipsOfALogCostWhatTheyHit flips bits of a log's entries: in a header or a
// key they are put right, in a value they cost the run that is hit.
func TestFlipsOfALogCostWhatTheyHit(t *testing.T) {
	for name, versionOf := range versionings {
		t.Run(name, func(t *testing.T) { wantFlipsPutRight(t, versionOf) })
	}
}

func wantFlipsPutRight(t *testing.T, versionOf func(number uint64) uint64) {
	t.Helper()
	s, log, want := newSeals(), make([]byte, walHeader), map[versioned]tableEntry{}
	for number := uint64(1); number <= 9; number++ {
		version := versionOf(number)
		for n := range 3 {
			key := numbered(int(number)*3 + n)
			e := tableEntry{key: []byte(key), version: version, value: []byte(kept(key, int(version), 200, 100, 300))}
			want[versioned{key, version}] = e
			log = appendEntry(log, bitTxn, e.key, version, e.value)
		}
		log = appendEnd(appendEntry(log, bitTxn, sealKey, version, s.of(number)), version)
	}
	rng, inValue, right := rand.New(rand.NewPCG(6, 6)), 0, 0
	for at := walHeader; at < len(log)*8/9; at += 1 + rng.IntN(30) {
		broken := bytes.Clone(log)
		broken[at] ^= 1 << rng.IntN(8)
		salvage := salvagedLogs{sealed: s, most: 100, acked: 9}
		salvage.mend(broken, keptOwner{}, 9)
		damaged, unknown := differing(want, tableEntriesOf(t, salvage.clean(broken)))
		switch {
		case len(unknown) > 0 || len(damaged) > 1 || len(salvage.lost) == 0:
			t.Errorf("flip at %d: %v were never written, %v differ; commits %v", at, unknown, damaged, salvage.lost)
		case len(damaged) == 1:
			inValue++
		default:
			right++
		}
	}
	if t.Logf("%d flips cost a run, %d nothing or an entry", inValue, right); inValue < 3*right {
		t.Error("three in four bytes are values")
	}
}

func tableEntriesOf(t *testing.T, log []byte) (all []tableEntry) {
	t.Helper()
	for at := walHeader; at < len(log); {
		e, ok := readEntry(log[at:])
		if !ok {
			t.Fatalf("byte %d of %d cannot be replayed", at, len(log))
		}
		at += e.size
		if !e.ends() && !hidden(e.key) {
			all = append(all, tableEntry{key: e.key, version: e.version, value: e.value})
		}
	}
	return all
}

// TestBitsInRunsAreNeverPutRight: a checksum of the same polynomial would hold
// over a bit that was put right wrongly.
func TestBitsInRunsAreNeverPutRight(t *testing.T) {
	data, entries := keptTable(t)
	index, _, err := splitTable(data)
	must(t, err)
	p := index.blocks[0]
	body, _ := splitBroken(data[p.from:p.to])
	r, values := tableReader{owner: keptOwner{}}, 0
	all, _ := locate(body, p.key)
	for at := 0; at < len(body); at += 13 {
		inRun := false
		for _, e := range all {
			inRun = inRun || !hidden(e.key) && e.at <= at && at < e.at+len(e.value)
		}
		if inRun {
			values++
		}
		if _, ok := r.holding(body, p.key, at); ok == inRun {
			t.Fatalf("byte %d, in a run %t: may be put right %t", at, inRun, ok)
		}
	}
	if values == 0 || len(entries) == 0 {
		t.Error("no value")
	}
}

// TestBitsOfABlocksChecksumCostNothing flips each bit of the last bytes of a block.
func TestBitsOfABlocksChecksumCostNothing(t *testing.T) {
	data, entries := keptTable(t)
	index, _, err := splitTable(data)
	must(t, err)
	end := int(index.blocks[0].to)
	for i := range 8 * maxChecksum {
		at, bit := end-1-i/8, byte(1)<<(i%8)
		data[at] ^= bit
		n := 0
		must(t, tableReader{
			entry: func(tableEntry) error { n++; return nil }, broken: func(int64, int64, error) {}, owner: keptOwner{},
		}.read(data))
		data[at] ^= bit
		if n != len(entries) {
			t.Errorf("byte %d from the end, bit %x: %d of %d entries", i/8, bit, n, len(entries))
		}
	}
}
