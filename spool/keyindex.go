package spool

import "math"

// keyIndex knows every dedupe key in the window. On disk the keys of a commit
// are one entry, in the bucket of their hour, dropped whole. In memory are the keys of
// the last commits; of all others only tags, which lead to the entries that may
// have a key. What is read there counts if its sequence is in with.
//
// Only the committer changes it, with s.mu held; so it may read without.
type keyIndex struct {
	tags        tagTable // of all keys that stand on disk, whether they count or not
	young, old  map[keyHash]keyRef
	youngFrom   uint64             // the first entry of which all keys, as of those behind it, are in young
	inMapsFrom  uint64             // or in old
	youngEnough int                // how many keys young may have before it becomes old
	with        map[uint64]*bitmap // sequences that have a key, by range
	count       int                // of those
	hours       map[uint64]*hourOfKeys
	part        uint64 // makes the next entry's key unique
	came        uint64 // the highest place of a message that was settled elsewhere
}

// hourOfKeys is what is on disk of an hour of accept.
type hourOfKeys struct {
	keys            int
	first, last     uint64 // entries: those between may be of other hours
	lowest, highest uint64 // of the sequences
}

// keysInMemory is how many of the last keys need no read, at least, when there are
// as many: enough for a client that repeats at once.
const keysInMemory = 8 << 10

func newKeyIndex() keyIndex {
	return keyIndex{
		tags: newTagTable(), young: map[keyHash]keyRef{}, old: map[keyHash]keyRef{}, youngFrom: 1, inMapsFrom: 1, youngEnough: keysInMemory,
		with: map[uint64]*bitmap{}, hours: map[uint64]*hourOfKeys{},
	}
}

// inMemory finds a key of the last commits.
func (x *keyIndex) inMemory(h keyHash) (ref keyRef, known bool) {
	for _, m := range [...]map[keyHash]keyRef{x.young, x.old} {
		if ref, known = m[h]; known && x.has(ref.seq) {
			return ref, true
		}
	}
	return keyRef{}, false
}

// get finds a key in memory, or in what was read of it, which has to be all that
// unread names.
func (x *keyIndex) get(h keyHash, read *keyReads) (ref keyRef, known bool) {
	if ref, known = x.inMemory(h); known {
		return ref, true
	}
	return read.counting(x)
}

// mayHave is get for who does not read: it may be true of a key that is new.
func (x *keyIndex) mayHave(h keyHash) bool {
	_, known := x.inMemory(h)
	return known || len(x.tags.parts(h, x.part)) > 0
}

// unread are the entries on disk in which a key may stand that is not in memory, but
// those that were read; none, if what was read tells.
func (x *keyIndex) unread(h keyHash, read *keyReads) (all []keyPlace) {
	parts := x.tags.parts(h, x.part)
	if parts == nil {
		return nil
	}
	if _, known := read.counting(x); known {
		return nil
	}
	for _, p := range parts {
		if p < x.inMapsFrom && !read.has(p) {
			all = append(all, keyPlace{p, x.hoursOf(p)})
		}
	}
	return all
}

// hoursOf are those to which an entry may belong: one, but for keys that were imported.
func (x *keyIndex) hoursOf(part uint64) (all []uint64) {
	for hour, of := range x.hours {
		if of.first <= part && part <= of.last {
			all = append(all, hour)
		}
	}
	return all
}

func (x *keyIndex) has(seq uint64) bool {
	b := x.with[seq>>bitmapShift]
	return b != nil && b.has(seq)
}

// add is for a key that is to be written into an entry.
func (x *keyIndex) add(e keyEntry, hour, part uint64) {
	x.young[e.hash] = e.ref
	x.found(e, hour, part)
}

// found is for a key that stands in an entry on disk.
func (x *keyIndex) found(e keyEntry, hour, part uint64) {
	x.tags.add(e.hash, part)
	x.hour(hour, part).note(part, e.ref.seq)
	if x.rangeOf(e.ref.seq).set(e.ref.seq) {
		x.count++
	}
}

// hour is what is on disk of an hour, in which there is an entry.
func (x *keyIndex) hour(hour, part uint64) *hourOfKeys {
	h := x.hours[hour]
	if h == nil {
		h = &hourOfKeys{first: part, last: part, lowest: math.MaxUint64}
		x.hours[hour] = h
	}
	return h
}

func (h *hourOfKeys) note(part, seq uint64) {
	h.keys++
	h.first, h.last = min(h.first, part), max(h.last, part)
	h.lowest, h.highest = min(h.lowest, seq), max(h.highest, seq)
}

// rangeOf is where the key of a sequence is made to count.
func (x *keyIndex) rangeOf(seq uint64) *bitmap {
	if elsewhere(seq) {
		x.came = max(x.came, seq)
	}
	r := seq >> bitmapShift
	if x.with[r] == nil {
		x.with[r] = new(bitmap)
	}
	return x.with[r]
}

// leave makes the key of a sequence count no more.
func (x *keyIndex) leave(seq uint64) {
	if !x.has(seq) {
		return
	}
	b := x.with[seq>>bitmapShift]
	if b.clear(seq); b.count == 0 {
		delete(x.with, seq>>bitmapShift)
	}
	x.count--
}

// drop forgets that a key stands in an entry, and reports whether it did.
func (x *keyIndex) drop(h keyHash, hour, part uint64) bool {
	if !x.tags.remove(h, part) {
		return false
	}
	if n := x.hours[hour]; n != nil {
		if n.keys--; n.keys <= 0 {
			delete(x.hours, hour)
		}
	}
	return true
}

// synced is called when all that was added can be read: what was added long ago
// leaves memory.
func (x *keyIndex) synced() {
	if len(x.young) < x.youngEnough {
		return
	}
	x.young, x.old = x.old, x.young
	clear(x.young)
	x.inMapsFrom, x.youngFrom = x.youngFrom, x.part+1
}

func (x *keyIndex) bytes() int64 { return int64(x.count) * keyCost }
