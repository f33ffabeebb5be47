package local

import (
	"encoding/binary"
	"maps"
	"time"
)

// filter knows of most keys that a bucket has no mark of them: a Bloom filter in
// layers, each four times as large as the one before. It takes 12 bits a key and is
// wrong about one in a hundred, whose mark is then looked for in vain.
type filter struct{ layers []*layer }

const (
	filterBits  = 12 // of a key
	filterFirst = 16 << 10
	filterMost  = 1 << 20 // keys in a layer
)

// layer is of blocks of one cache line, and a key is in one block.
type layer struct {
	blocks [][8]uint64
	keys   int // there is room for
}

func newLayer(keys int) *layer {
	return &layer{make([][8]uint64, keys*filterBits/512), keys}
}

// add is called for each key that it may not have.
func (f *filter) add(h hash) {
	n := len(f.layers)
	if n == 0 {
		f.layers = append(f.layers, newLayer(filterFirst))
	} else if last := f.layers[n-1]; last.keys == 0 {
		f.layers = append(f.layers, newLayer(min(4*512*len(last.blocks)/filterBits, filterMost)))
	}
	last := f.layers[len(f.layers)-1]
	last.keys--
	block := last.block(h)
	for bit := range sevenBits(h) {
		block[bit/64] |= 1 << (bit % 64)
	}
}

func (f *filter) mayHave(h hash) bool {
	for _, l := range f.layers {
		if l.mayHave(h) {
			return true
		}
	}
	return false
}

func (l *layer) mayHave(h hash) bool {
	block := l.block(h)
	for bit := range sevenBits(h) {
		if block[bit/64]&(1<<(bit%64)) == 0 {
			return false
		}
	}
	return true
}

// block of a key: its hash is of SHA-256, so any bits of it will do.
func (l *layer) block(h hash) *[8]uint64 {
	return &l.blocks[binary.BigEndian.Uint64(h[:])%uint64(len(l.blocks))]
}

// sevenBits of 512 are those of a key.
func sevenBits(h hash) func(yield func(uint64) bool) {
	bits := binary.BigEndian.Uint64(h[8:])
	return func(yield func(uint64) bool) {
		for range 7 {
			if !yield(bits % 512) {
				return
			}
			bits >>= 9
		}
	}
}

// filters are those of the buckets. What of a bucket of an earlier opening is not read
// yet is being learned: marks are looked for on the disk meanwhile. They belong to
// database.mu, and can be ahead of the disk only when a commit has failed, which
// fences the database.
type filters struct {
	whole    map[time.Duration]*filter
	learning map[time.Duration]*unlearned
}

// unlearned is the filter of a bucket that has more marks than were read. A scan does not
// tell when damage ends it early, so they are counted.
type unlearned struct {
	filter

	missing int64             // marks that were there at open
	since   map[hash]struct{} // written since: a scan may come upon them or not
}

// newFilters are those of buckets of which nothing is known but how many marks they
// have. Where that was not noted there is none.
func newFilters(all []bucket) filters {
	f := filters{map[time.Duration]*filter{}, map[time.Duration]*unlearned{}}
	for _, b := range all {
		if b.noted {
			f.learning[b.start] = &unlearned{missing: b.marks, since: map[hash]struct{}{}}
		}
	}
	return f
}

// begin gives a new bucket one. Those of buckets before the oldest go.
func (all filters) begin(bucket, oldest time.Duration) {
	maps.DeleteFunc(all.whole, func(b time.Duration, _ *filter) bool { return b < oldest })
	maps.DeleteFunc(all.learning, func(b time.Duration, _ *unlearned) bool { return b < oldest })
	all.whole[bucket] = &filter{}
}

// wrote is told of a mark that is new in its bucket.
func (all filters) wrote(bucket time.Duration, h hash) {
	if f := all.whole[bucket]; f != nil {
		f.add(h)
	} else if u := all.learning[bucket]; u != nil {
		u.since[h] = struct{}{}
		u.add(h)
	}
}

// learn takes keys that were found in a bucket. The last of them make its filter whole if
// none is missing: what was written since they were read it was told of. Else the bucket
// has none. One that is being emptied misses what is deleted.
func (all filters) learn(l *lesson) {
	u := all.learning[l.bucket]
	if u == nil {
		return // the bucket has gone
	}
	for _, h := range l.keys {
		if _, written := u.since[h]; !written {
			u.missing--
			u.add(h)
		}
	}
	if !l.last {
		return
	}
	delete(all.learning, l.bucket)
	if u.missing <= 0 {
		all.whole[l.bucket] = &filter{u.layers}
	}
}

// rulesOut reports that a bucket has no mark of a key.
func (all filters) rulesOut(bucket time.Duration, h hash) bool {
	f := all.whole[bucket]
	return f != nil && !f.mayHave(h)
}
