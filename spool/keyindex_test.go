package spool

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// disk is where the entries of keys are, of an index without a spool.
type disk map[uint64]*diskEntry

type diskEntry struct {
	hour uint64
	keys []keyEntry
}

// read reads what the index has not in memory. It fails the test if the index does not
// know where an entry is.
func (d disk) read(t rapid.TB, x *keyIndex, h keyHash) *keyReads {
	r := &keyReads{}
	for _, p := range x.unread(h, r) {
		e := d[p.part]
		if e == nil || !slices.Contains(p.hours, e.hour) {
			t.Fatalf("entry %d of hours %v is looked for; there is %v", p.part, p.hours, e)
		}
		r.parts = append(r.parts, p.part)
		for _, k := range e.keys {
			if k.hash == h {
				r.refs = append(r.refs, k.ref)
			}
		}
	}
	return r
}

// TestKeyIndexIsAMap compares the index, of which nearly all is read, with a map: keys
// that share their tags, that move to another sequence and entry, are dropped once and
// twice and used anew, in hours as they come, and what was read before others changed.
func TestKeyIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, on, want, seq := newKeyIndex(), disk{}, map[keyHash]keyRef{}, uint64(1<<partBits-20)
		x.youngEnough = rapid.IntRange(0, 5).Draw(t, "in memory")
		x.part = seq
		x.youngFrom, x.inMapsFrom = x.part+1, x.part+1
		var early map[keyHash]*keyReads // read when less was known
		write := func(hour uint64, keys []keyEntry) {
			x.part++
			on[x.part] = &diskEntry{hour, keys}
			for _, e := range keys {
				x.add(e, hour, x.part)
				want[e.hash] = e.ref
			}
		}
		keyOf := func(n int) keyHash { return keyHash{0: byte(n % 3), 5: byte(n)} }
		for range rapid.IntRange(1, 60).Draw(t, "commits") {
			hour := rapid.Uint64Range(0, 5).Draw(t, "hour")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1: // messages
				var keys []keyEntry
				for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 1, 9, rapid.ID).Draw(t, "keys") {
					if _, known := want[keyOf(n)]; !known {
						seq++
						keys = append(keys, keyEntry{keyOf(n), keyRef{seq: seq, fingerprint: rapid.Uint64().Draw(t, "fingerprint")}})
					}
				}
				write(hour, keys)
			case 2: // one that moves
				if h := keyOf(rapid.IntRange(0, 40).Draw(t, "moved")); want[h].seq > 0 {
					x.leave(want[h].seq)
					seq++
					write(hour, []keyEntry{{h, keyRef{seq: seq}}})
				}
			case 3: // an entry goes, and some of its keys stay
				parts := slices.Sorted(func(yield func(uint64) bool) {
					for p := range on {
						if !yield(p) {
							return
						}
					}
				})
				if len(parts) == 0 {
					continue
				}
				part := rapid.SampledFrom(parts).Draw(t, "entry")
				e, kept := on[part], []keyEntry(nil)
				for _, k := range e.keys {
					stays := rapid.Bool().Draw(t, "stays")
					if !x.drop(k.hash, e.hour, part) {
						t.Fatalf("entry %d: %v is not known", part, k)
					}
					switch counts := want[k.hash].seq == k.ref.seq; {
					case counts != x.has(k.ref.seq):
						t.Fatalf("sequence %d counts: %t", k.ref.seq, counts)
					case counts && stays:
						kept = append(kept, k)
					case counts:
						x.leave(k.ref.seq)
						delete(want, k.hash)
					}
				}
				for _, k := range e.keys {
					if x.drop(k.hash, e.hour, part) {
						t.Fatalf("entry %d: %v was dropped twice", part, k)
					}
				}
				delete(on, part)
				write(hour, kept)
			case 4:
				early = map[keyHash]*keyReads{}
				for n := range 41 {
					early[keyOf(n)] = on.read(t, &x, keyOf(n))
				}
			}
			x.synced()
			for n := range 41 {
				h := keyOf(n)
				read := on.read(t, &x, h)
				ref, known := x.get(h, read)
				if w, is := want[h]; known != is || ref != w {
					t.Fatalf("key %d: got %v (%t), want %v (%t)", n, ref, known, w, is)
				}
				if known && !x.mayHave(h) {
					t.Fatalf("key %d cannot be known", n)
				}
				if e := early[h]; e != nil && len(x.unread(h, e)) == 0 {
					if late, known := x.get(h, e); known != (want[h].seq > 0) || late != ref {
						t.Fatalf("key %d as it was read before: got %v (%t), want %v", n, late, known, ref)
					}
				}
			}
			if x.count != len(want) {
				t.Fatalf("%d keys count, want %d", x.count, len(want))
			}
		}
		total := 0
		for _, e := range on {
			total += len(e.keys)
		}
		if x.tags.count != total {
			t.Fatalf("%d tags of %d keys", x.tags.count, total)
		}
	})
}

// TestTagTableTakesTenBytesAKey fills a table and empties it.
func TestTagTableTakesTenBytesAKey(t *testing.T) {
	const keys = 500_000
	x, all := newTagTable(), make([]keyHash, keys)
	for i := range all {
		_, _ = rand.Read(all[i][:])
		x.add(all[i], uint64(i))
	}
	room := func() (sum int) {
		for _, s := range x.segments {
			sum += cap(s)
		}
		return sum
	}
	if each := float64(8*room()) / keys; each > 10.5 {
		t.Errorf("%.1f bytes a key", each)
	}
	met := 0
	for i, h := range all {
		if parts := x.parts(h, keys); !slices.Contains(parts, uint64(i)) {
			t.Fatalf("key %d is in %v", i, parts)
		}
		_, _ = rand.Read(h[:])
		met += len(x.parts(h, keys))
	}
	if met > 5 {
		t.Errorf("%d of %d new keys were met", met, keys)
	}
	for i, h := range all {
		if !x.remove(h, uint64(i)) || x.remove(h, uint64(i)) {
			t.Fatalf("key %d was not removed just once", i)
		}
	}
	if x.count != 0 || room() > 4*len(x.segments) {
		t.Errorf("%d keys are left, with room for %d", x.count, room())
	}
}

// BenchmarkKeyIndex is what the index costs an accept: who brings a key looks for it,
// the committer does, and adds it.
func BenchmarkKeyIndex(b *testing.B) {
	for _, waiting := range []int{0, 1_000_000} {
		b.Run(fmt.Sprint("waiting=", waiting), func(b *testing.B) {
			x, n := newKeyIndex(), uint64(0)
			accept := func() {
				n++
				e := keyEntry{ref: keyRef{seq: n}}
				binary.BigEndian.PutUint64(e.hash[:], n*0x9e3779b97f4a7c15)
				binary.BigEndian.PutUint64(e.hash[8:], n)
				reads := (*keyReads)(nil)
				for range 2 {
					if x.sought(nil, e.hash, &reads) != nil {
						return // its tag is another's
					}
				}
				if _, known := x.get(e.hash, reads); !known {
					x.add(e, 1, n/64)
				}
				if x.part = n / 64; n%64 == 0 {
					x.synced()
				}
			}
			for range waiting {
				accept()
			}
			b.ReportAllocs()
			for b.Loop() {
				accept()
			}
		})
	}
}
