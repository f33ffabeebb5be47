package spool

import (
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
)

// TestKeyIndexIsAMap compares the index, which leaves out what follows, with a
// map that has everything: IDs of several lives, IDs that do not follow from
// their time, keys used anew, dropped once and twice.
func TestKeyIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, want, all := newKeyIndex(), map[keyHash]keyRef{}, []keyEntry{}
		for seq := range uint64(rapid.IntRange(1, 200).Draw(t, "keys")) {
			at := time.UnixMilli(rapid.Int64Range(0, 1<<41).Draw(t, "at"))
			life := byte(rapid.IntRange(0, 5).Draw(t, "life"))
			ref := keyRef{seq: seq + 1<<32 - 100, fingerprint: rapid.Uint64().Draw(t, "fingerprint"), acceptedAt: at.UnixMilli()}
			ref.id = message.NewID(message.SpoolID{life}, uint32(life), ref.seq, at)
			if rapid.IntRange(0, 9).Draw(t, "other zone") == 0 {
				ref.id = message.NewID(message.SpoolID{life}, uint32(life), ref.seq, at.Add(time.Hour))
			}
			e := keyEntry{hash: keyHash{byte(rapid.IntRange(0, 99).Draw(t, "key"))}, ref: ref}
			x.add(e, 1)
			want[e.hash] = ref
			all = append(all, e)
			if rapid.Bool().Draw(t, "drop") {
				old := rapid.SampledFrom(all).Draw(t, "which")
				x.drop(old)
				if want[old.hash] == old.ref {
					delete(want, old.hash)
				}
			}
		}
		got, held := map[keyHash]keyRef{}, map[uint64]bool{}
		for h := range x.kept {
			got[h], _ = x.get(h)
			held[got[h].seq] = true
		}
		if !maps.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		for _, e := range all {
			if x.has(e.ref.seq) != held[e.ref.seq] {
				t.Fatalf("sequence %d has a key: %t", e.ref.seq, !held[e.ref.seq])
			}
		}
		for seq := range x.other {
			if !held[seq] {
				t.Fatalf("the ID of %d is left over", seq)
			}
		}
	})
}
