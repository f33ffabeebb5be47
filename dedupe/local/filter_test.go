package local

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"
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
	if n, buckets := len(h.store.filters), len(h.store.buckets.all); n > buckets+1 || n < buckets {
		t.Errorf("%d filters of %d buckets", n, buckets)
	}
}
