package seen

import (
	"context"
	"errors"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
)

// damage changes the block that has the first number, behind its checksum.
func (h *house) damage(st *Stream) {
	h.t.Helper()
	a, _ := place{st.id, origin}.of(1)
	v, err := h.db.Get(a.key())
	if err != nil {
		h.t.Fatal(err)
	}
	v[5] ^= 1
	if err := kv.Attach(h.db, setter{}).Commit(context.Background(), pair{string(a.key()), string(v)}, 1000); err != nil {
		h.t.Fatal(err)
	}
}

// TestDamageThatIsWrittenOverMakesUnsure, also where nobody has read it before.
func TestDamageThatIsWrittenOverMakesUnsure(t *testing.T) {
	h := newHouse(t, Options{})
	st := h.stream("billing", false)
	h.end(st, origin, 1, Handled)
	h.damage(st)
	h.reopen()
	h.end(h.stream("billing", false), origin, 2, Handled)
	if all := h.known(); all[0].UnsureAt.IsZero() || all[0].Origins[0].Handled != 1 {
		t.Errorf("told %+v", all)
	}
}

// TestDamageMakesUnsure: a block that cannot be read is said by whoever reads it first, and
// begun anew.
func TestDamageMakesUnsure(t *testing.T) {
	h := newHouse(t, Options{})
	st := h.stream("billing", false)
	h.end(st, origin, 1, Handled)
	h.damage(st)
	h.reopen()
	st = h.stream("billing", false)
	if all := h.known(); len(all) != 1 || all[0].Origins[0].Handled != 0 || all[0].UnsureAt.IsZero() {
		t.Errorf("told %+v, want it unsure in the answer that found the damage", all)
	}
	h.end(st, origin, 2, Handled)
	if all := h.known(); all[0].UnsureAt.IsZero() || all[0].Origins[0].Handled != 1 {
		t.Errorf("told %+v", all)
	}
	h.reopen()
	if all := h.known(); all[0].UnsureAt.IsZero() {
		t.Error("the doubt is gone after a reopening")
	}
}

// TestABlockThatLacksOneNumber is not one of which all was handled.
func TestABlockThatLacksOneNumber(t *testing.T) {
	for _, lacks := range []uint{0, perBlock / 2, perBlock - 1} {
		var b block
		for i := range uint(perBlock) {
			if i != lacks {
				b.note(i, Handled)
			}
		}
		if got, err := decodeBlock(b.encode()); err != nil || got.handled.has(lacks) || got.handled.count() != perBlock-1 {
			t.Errorf("without %d: %v", lacks, err)
		}
	}
}

// TestAClosedDatabaseTellsNothing: what it has may lack the last notes.
func TestAClosedDatabaseTellsNothing(t *testing.T) {
	h := newHouse(t, Options{})
	h.end(h.stream("billing", false), origin, 1, Handled)
	if err := h.db.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := h.store.Streams(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("streams %+v, %v", all, err)
	}
	if page, err := h.store.Numbers(t.Context(), "billing", "orders", origin, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("numbers %+v, %v", page, err)
	}
}
