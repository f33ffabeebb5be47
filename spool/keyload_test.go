package spool

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestWhatIsLoadedIsWhatWasAdded compares an index that has loaded all entries with one
// to which each key was added: keys that share their tags, or the first bits of them.
func TestWhatIsLoadedIsWhatWasAdded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loaded, added := newKeyIndex(), newKeyIndex()
		loaded.tags.expect(rapid.IntRange(0, 3<<segmentBits).Draw(t, "expected"))
		places := map[uint64]map[uint64]bool{} // by tag
		part := rapid.Uint64Range(0, 1<<partBits+3).Draw(t, "first entry")
		for range rapid.IntRange(0, 8).Draw(t, "entries") {
			part++
			hour := rapid.Uint64Range(0, 2).Draw(t, "hour")
			var keys []keyEntry
			for range rapid.IntRange(0, 60).Draw(t, "keys") {
				var h keyHash
				binary.BigEndian.PutUint64(h[:], rapid.Uint64Range(0, 7).Draw(t, "start")<<segmentBits<<30|
					rapid.Uint64Range(0, 3).Draw(t, "tag")<<(64-segmentBits-tagBits)|rapid.Uint64Range(0, 3).Draw(t, "rest"))
				seq := rapid.OneOf(rapid.Uint64Range(1, 3<<bitmapShift), rapid.Just(uint64(elsewhereBit|5))).Draw(t, "sequence")
				e := keyEntry{h, keyRef{seq: seq}}
				keys = append(keys, e)
				added.found(e, hour, part)
				if places[tagOf(h)] == nil {
					places[tagOf(h)] = map[uint64]bool{}
				}
				places[tagOf(h)][part&(1<<partBits-1)] = true
			}
			b, err := keysIn(encodeKeys(keys))
			if err != nil {
				t.Fatal(err)
			}
			loaded.load(b, hour, part)
		}
		shared := map[uint64]map[uint64]bool{}
		for n, count := range loaded.tags.sort() {
			for s := range loaded.tags.sharedIn(n) {
				if shared[s.tag] == nil {
					shared[s.tag] = map[uint64]bool{}
				}
				shared[s.tag][s.low] = true
				count--
			}
			if count != 0 {
				t.Errorf("segment %d: %d are not there", n, count)
			}
		}
		maps.DeleteFunc(places, func(tag uint64, parts map[uint64]bool) bool { return len(parts) == 1 && shared[tag] == nil })
		if !maps.EqualFunc(shared, places, maps.Equal) {
			t.Errorf("shared are %v, want %v", shared, places)
		}
		for n, s := range added.tags.segments {
			if !slices.Equal(loaded.tags.segments[n], s) {
				t.Errorf("segment %d: %x, want %x", n, loaded.tags.segments[n], s)
			}
		}
		equal := func(a, b *hourOfKeys) bool { return *a == *b }
		if loaded.count != added.count || loaded.came != added.came || loaded.tags.count != added.tags.count || !maps.EqualFunc(loaded.hours, added.hours, equal) {
			t.Errorf("%d keys count, want %d", loaded.count, added.count)
		}
		if !maps.EqualFunc(loaded.with, added.with, func(a, b *bitmap) bool { return *a == *b }) {
			t.Error("other sequences have keys")
		}
	})
}

// TestFewKeysTakeNoRoomForAllThatMayBe: a tool opens a spool with no bound to its keys, of
// which some are left of a thousand million messages.
func TestFewKeysTakeNoRoomForAllThatMayBe(t *testing.T) {
	s := &Spool{keys: newKeyIndex()}
	s.opts.DedupeLimit, s.head.highWater = math.MaxInt64/2, 1<<30
	s.keys.tags.expect(s.mostKeys())
	s.keys.tags.collect(keyHash{}, 1)
	if got := cap(s.keys.tags.segments[0]) << segmentBits; got > 2*mostExpected {
		t.Errorf("there is room for %d keys", got)
	}
}
