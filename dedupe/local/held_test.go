package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/kv"
)

// auditor looks, on the committer, for what is known otherwise from memory than it
// is read from the disk.
type auditor struct {
	store *Store
	keys  []dedupe.Key
}

func (a *auditor) Write(tx *kv.Tx, ops []*error) error {
	w := &writing{Tx: tx, now: a.store.now()}
	for _, o := range ops {
		*o = errors.Join(a.compare(w), a.bounds(tx))
	}
	return nil
}

func (*auditor) Synced([]*error) {}

func (a *auditor) compare(w *writing) error {
	kept, ruled := a.store.held, a.store.filters
	defer func() { a.store.held, a.store.filters = kept, ruled }()
	for _, k := range a.keys {
		o := a.store.opOf(k)
		if kept[o.key].slot != 0 {
			continue // it is in the journal
		}
		a.store.held, a.store.filters = kept, ruled
		known, err := a.store.find(w, o)
		if err != nil {
			return err
		}
		a.store.held, a.store.filters = nil, filters{}
		read, err := a.store.find(w, o)
		if err != nil {
			return err
		}
		known.until, read.until = known.until.Truncate(time.Millisecond), read.until.Truncate(time.Millisecond)
		if !reflect.DeepEqual(known, read) {
			return fmt.Errorf("%s: %+v is known, and %+v read", k.Key, known, read)
		}
	}
	return nil
}

// bounds finds what is kept of marks that are not there.
func (a *auditor) bounds(tx *kv.Tx) error {
	for h, m := range a.store.held {
		if _, err := tx.Get(markKey(m.bucket, h)); m.slot == 0 && err != nil {
			return fmt.Errorf("%+v is kept: %w", m, err)
		}
	}
	return nil
}

// Whatever happens to marks, they are known from memory as they are on the disk,
// none is ruled out that is there, and none stays that is gone: for want of bytes, or
// because its window has passed.
func TestMemoryKnowsWhatIsOnDisk(t *testing.T) {
	for name, tt := range map[string]struct {
		limit   int64
		journal bool
	}{"few bytes": {3 << 10, false}, "enough bytes": {1 << 20, false}, "journal, few bytes": {3 << 10, true}, "journal": {1 << 20, true}} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			h := bounded(t, tt.limit, ring(t, "0a"))
			if tt.journal {
				h.keepJournal()
			}
			m := &mix{h: h, Rand: rand.New(rand.NewPCG(seed, 0)), marks: map[dedupe.Key]dedupe.Mark{}}
			for i := range 40 {
				m.keys = append(m.keys, dedupe.Key{Scope: "s", Key: fmt.Sprint(i)})
			}
			a := &auditor{store: h.store, keys: m.keys}
			queue := kv.Attach(h.db, a)
			for range 1000 {
				if err := m.step(); err != nil && !errors.Is(err, dedupe.ErrFenced) {
					t.Fatal(err)
				}
				if a.store != h.store { // opened anew
					a.store, queue = h.store, kv.Attach(h.db, a)
				}
				var differs error
				if err := errors.Join(queue.Commit(t.Context(), &differs, 0), differs); err != nil {
					t.Fatal(err)
				}
			}
			h.counted()
		})
	}
}

// mix is whatever happens to some keys.
type mix struct {
	*rand.Rand

	h     *house
	keys  []dedupe.Key
	marks map[dedupe.Key]dedupe.Mark
}

func (m *mix) step() error {
	ctx, s, k := m.h.t.Context(), m.h.store, m.keys[m.IntN(len(m.keys))]
	lease := time.Duration(1+m.IntN(60)) * time.Minute
	switch m.IntN(12) {
	case 0, 1, 2, 3:
		mark, err := s.Begin(ctx, k, dedupe.Fingerprint{byte(m.IntN(6))}, lease)
		if mark.Verdict == dedupe.Begun {
			m.marks[k] = mark
		}
		return err
	case 4, 5:
		return s.Done(ctx, k, m.marks[k])
	case 6:
		return s.Extend(ctx, k, m.marks[k], lease)
	case 7:
		return s.Release(ctx, k, m.marks[k], m.IntN(2) == 0)
	case 8:
		return s.Forget(ctx, k, m.marks[k])
	case 9:
		m.h.pass(time.Duration(m.IntN(15)) * time.Minute)
	case 10:
		m.h.sweep()
	case 11:
		if m.IntN(20) == 0 {
			m.h.reopen()
		}
	}
	return nil
}

// More marks than are kept in memory are ended as well.
func TestHeldMarksAreBounded(t *testing.T) {
	held := heldMarks{}
	for i := range 100 {
		held[hash{15: byte(i + 1)}] = found{slot: 1} // nowhere else
	}
	for i := range mostKept + 10 {
		held.wrote(hash{byte(i), byte(i >> 8), byte(i >> 16)}, found{record: record{held: true}})
	}
	if len(held) != mostKept {
		t.Errorf("%d are kept", len(held))
	}
	for i := range 100 {
		if _, kept := held[hash{15: byte(i + 1)}]; !kept {
			t.Fatal("one that is in the journal alone is not kept")
		}
	}
	h := newHouse(t, time.Hour)
	m := begin(t, h.store, "a")
	clear(h.store.held) // the last commit is synced, and no other comes
	k := dedupe.Key{Scope: "s", Key: "a"}
	if err := h.store.Extend(t.Context(), k, m, time.Minute); err != nil {
		t.Error(err)
	}
	if err := h.store.Done(t.Context(), k, m); err != nil {
		t.Error(err)
	}
}
