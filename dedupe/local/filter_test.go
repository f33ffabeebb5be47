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
			if h.store.rulesOut(all[b].start, h.store.opOf(dedupe.Key{Scope: scope, Key: strconv.Itoa(i)})) {
				t.Fatalf("key %d of bucket %s is ruled out", i, scope)
			}
		}
	}
	wrong := 0
	for i := range n {
		for _, b := range all {
			if !h.store.rulesOut(b.start, h.store.opOf(dedupe.Key{Scope: "new", Key: strconv.Itoa(i)})) {
				wrong++
			}
		}
	}
	if wrong > 2*2*n*3/100 { // one of two hashes in the older bucket
		t.Errorf("%d of %d new keys are not ruled out", wrong, 2*n)
	}
}
