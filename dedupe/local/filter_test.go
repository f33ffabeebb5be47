package local

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
)

// What was added is never ruled out, what was not mostly is, and that takes the
// memory that it should.
func TestFilter(t *testing.T) {
	const n = 300_000
	of := func(i uint64) hash {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
		return hash(sum[:16])
	}
	f, wrong := &filter{}, 0
	for i := range uint64(n) {
		if f.mayHave(of(i)) {
			wrong++
		}
		f.add(of(i))
	}
	for i := range uint64(n) {
		if !f.mayHave(of(i)) {
			t.Fatalf("key %d of %d is ruled out", i, n)
		}
	}
	if wrong > n*2/100 {
		t.Errorf("%d of %d are not ruled out", wrong, n)
	}
	var bits int
	for _, l := range f.layers {
		bits += 512 * len(l.blocks)
	}
	if len(f.layers) != 3 || bits > filterBits*(16+64+256)<<10 {
		t.Errorf("%d layers of %d bits", len(f.layers), bits)
	}
}

// The filters of buckets that are gone go when another begins.
func TestFiltersGoWithTheirBuckets(t *testing.T) {
	h := newHouse(t, time.Hour)
	for range 40 {
		h.pass(10 * time.Minute)
		finish(t, h.store, time.Duration(h.time.Load()).String())
		h.sweep()
	}
	if n, buckets := len(h.store.filters.whole), len(h.store.buckets.all); n > buckets+1 || n < buckets {
		t.Errorf("%d filters of %d buckets", n, buckets)
	}
}

// TestBucketsOfEarlierOpeningsAreLearned: a new key is then ruled out in each of them,
// and none that is there, also under the hash from before there was a secret.
func TestBucketsOfEarlierOpeningsAreLearned(t *testing.T) {
	h := newHouse(t, time.Hour)
	const n = 2*learnChunk + 7
	fill := func(bucket string) {
		err := h.store.Fill(t.Context(), func(yield func(dedupe.Key, dedupe.Fingerprint) bool) {
			for i := range n {
				if !yield(dedupe.Key{Scope: bucket, Key: strconv.Itoa(i)}, dedupe.Fingerprint{1}) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	fill("plain")
	h.o.Keys = ring(t, "0a")
	h.reopen()
	h.pass(10 * time.Minute)
	fill("secret")
	h.reopen()
	<-h.store.learned
	all := h.store.buckets.all
	if len(all) != 2 {
		t.Fatalf("%d buckets, want 2", len(all))
	}
	for i := range n {
		for b, scope := range []string{"plain", "secret"} {
			if h.rulesOut(all[b].start, dedupe.Key{Scope: scope, Key: strconv.Itoa(i)}) {
				t.Fatalf("key %d of bucket %s is ruled out", i, scope)
			}
		}
	}
	wrong := 0
	for i := range n {
		for _, b := range all {
			if !h.rulesOut(b.start, dedupe.Key{Scope: "new", Key: strconv.Itoa(i)}) {
				wrong++
			}
		}
	}
	if wrong > 2*2*n*3/100 { // one of two hashes in the older bucket
		t.Errorf("%d of %d new keys are not ruled out", wrong, 2*n)
	}
}

// A key that is not read, because damage ends a scan early, is never ruled out: not where
// others were written meanwhile that were read.
func TestFilterThatMissesAKeyIsNotWhole(t *testing.T) {
	const at = time.Second
	of := func(key rune) hash { return hash(dedupe.Key{Key: string(key)}.Hash()) }
	for name, c := range map[string]struct {
		read  string // of the marks a, b and c, and x, which is written meanwhile
		whole bool
	}{
		"all":                       {"abc", true},
		"all, and what was written": {"abcx", true},
		"one is missed":             {"ab", false},
		"one is missed, and what was written is read": {"abx", false},
		"none": {"", false},
	} {
		all := newFilters([]bucket{{start: at, marks: 3, noted: true}})
		all.wrote(at, of('x'))
		for _, key := range c.read {
			all.learn(&lesson{bucket: at, keys: []hash{of(key)}})
		}
		all.learn(&lesson{bucket: at, last: true})
		if got := all.rulesOut(at, of('n')); got != c.whole {
			t.Errorf("%s: another key is ruled out: %v", name, got)
		}
		all.wrote(at, of('y'))
		for _, key := range "abcxy" {
			if all.rulesOut(at, of(key)) {
				t.Errorf("%s: key %c is ruled out", name, key)
			}
		}
	}
}

// Where a bucket is known to have had more marks than are read, or it is not known how
// many, they are looked for on the disk.
func TestBucketOfUnknownMarksIsNotRuledOut(t *testing.T) {
	for name, count := range map[string]func(bucket) []byte{
		"more":     func(b bucket) []byte { b.marks++; return b.encodeCount() },
		"damaged":  func(bucket) []byte { return []byte("?") },
		"the same": func(b bucket) []byte { return b.encodeCount() },
	} {
		h := newHouse(t, time.Hour)
		finish(t, h.store, "a")
		one := h.store.buckets.all[0]
		h.plant(countKey(one.start), count(one))
		h.reopen()
		<-h.store.learned
		if got := h.rulesOut(one.start, dedupe.Key{Scope: "s", Key: "b"}); got != (name == "the same") {
			t.Errorf("%s: another key is ruled out: %v", name, got)
		}
		if m := begin(t, h.store, "a"); m.Verdict != dedupe.Repeat {
			t.Errorf("%s: %v", name, m.Verdict)
		}
	}
}

func (h *house) rulesOut(bucket time.Duration, k dedupe.Key) bool {
	written, plain := h.store.hashes(k)
	return h.store.rulesOut(bucket, written, plain)
}
