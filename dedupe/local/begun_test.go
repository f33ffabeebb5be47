package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/dedupetest"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

// keepJournal opens the house anew with a journal, from which nothing is noted by itself.
func (h *house) keepJournal() {
	h.t.Helper()
	h.close()
	h.o.Journal, h.o.noteAfter = filepath.Join(h.t.TempDir(), "begun"), time.Hour
	h.open()
}

func journaled(t *testing.T, keys *keyring.Ring) *house {
	t.Helper()
	h := newHouse(t, 10*time.Hour)
	h.o.Keys = keys
	h.keepJournal()
	begin(t, h.store, "the first one, with which a bucket begins, and the secret is written")
	h.wrote.Store(0)
	return h
}

// withAndWithoutKeys runs a test of a journal that is encrypted, and of one that is not.
func withAndWithoutKeys(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	for name, keys := range map[string]*keyring.Ring{"plain": nil, "encrypted": ring(t, "0a")} {
		t.Run(name, func(t *testing.T) { test(t, journaled(t, keys)) })
	}
}

func TestContractWithAJournal(t *testing.T) {
	withAndWithoutKeys(t, func(t *testing.T, h *house) {
		dedupetest.Run(t, func(t *testing.T) *dedupetest.Instance {
			h := journaled(t, h.o.Keys)
			return &dedupetest.Instance{Store: h.store, Window: h.o.Window, Advance: h.pass, Reopen: h.reopen, Within: h.within}
		})
	})
}

// TestANewKeyIsBegunWithoutACommit, and one that is known in one.
func TestANewKeyIsBegunWithoutACommit(t *testing.T) {
	withAndWithoutKeys(t, func(t *testing.T, h *house) {
		k := dedupe.Key{Scope: "s", Key: "a"}
		m := begin(t, h.store, "a")
		if n := h.wrote.Load(); m.Verdict != dedupe.Begun || m.Attempt != 1 || n != 0 {
			t.Errorf("begun: %+v, in %d commits", m, n)
		}
		if m := begin(t, h.store, "a"); m.Verdict != dedupe.InProgress {
			t.Errorf("begun twice: %+v", m)
		}
		if err := h.store.Done(t.Context(), k, m); err != nil {
			t.Fatal(err)
		}
		if m, n := begin(t, h.store, "a"), h.wrote.Load(); m.Verdict != dedupe.Repeat || n != 1 {
			t.Errorf("done: %+v, in %d commits", m, n)
		}
		if n := h.store.journal.inUse(); n != 0 {
			t.Errorf("%d slots are in use at the end", n)
		}
	})
}

// TestAnAttemptInTheJournalCounts when the process ends before its mark is in the
// database; one that a power loss has cut does not, and does no harm.
func TestAnAttemptInTheJournalCounts(t *testing.T) {
	withAndWithoutKeys(t, func(t *testing.T, h *house) {
		begin(t, h.store, "a")
		begin(t, h.store, "b")
		h.close()
		h.edit(func(b []byte) []byte {
			b[len(b)-slotSize+5] ^= 1
			return b
		})
		h.open()
		if n := h.store.Stats().Marks; n != 2 { // with the first one
			t.Errorf("%d marks", n)
		}
		if a, b := begin(t, h.store, "a"), begin(t, h.store, "b"); a.Attempt != 2 || a.Verdict != dedupe.Begun || b.Attempt != 1 || b.Verdict != dedupe.Begun {
			t.Errorf("after a kill: %+v, and of a slot that is cut %+v", a, b)
		}
		h.reopen()
		if m := begin(t, h.store, "a"); m.Attempt != 3 {
			t.Errorf("after another one: %+v", m)
		}
	})
}

// edit changes the journal of a house that is closed.
func (h *house) edit(change func([]byte) []byte) {
	h.t.Helper()
	b, err := os.ReadFile(h.o.Journal)
	if err == nil {
		err = os.WriteFile(h.o.Journal, change(b), 0o600)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestWhatWasWrittenSinceIsKept: a slot tells nothing of a key that has a mark.
func TestWhatWasWrittenSinceIsKept(t *testing.T) {
	withAndWithoutKeys(t, func(t *testing.T, h *house) {
		var former []byte
		for i := range 5 {
			finish(t, h.store, fmt.Sprint(i))
			b, err := os.ReadFile(h.o.Journal)
			if err != nil {
				t.Fatal(err)
			}
			former = append(former, b...)
		}
		h.close()
		h.edit(func([]byte) []byte { return former }) // as after a kill, or a program without a journal
		h.open()
		for i := range 5 {
			if m := begin(t, h.store, fmt.Sprint(i)); m.Verdict != dedupe.Repeat {
				t.Errorf("%d: %+v, want a repeat", i, m)
			}
		}
	})
}

// TestWhatIsInProgressForAMomentIsInTheDatabase, where a power loss leaves it.
func TestWhatIsInProgressForAMomentIsInTheDatabase(t *testing.T) {
	withAndWithoutKeys(t, func(t *testing.T, h *house) {
		h.close()
		h.o.noteAfter = time.Millisecond
		h.open()
		<-h.store.learned
		m := begin(t, h.store, "a")
		if m.Attempt != 1 {
			t.Errorf("%+v", m)
		}
		for h.wrote.Load() == 0 || h.inJournal() > 0 {
			time.Sleep(time.Millisecond)
		}
		h.close()
		h.edit(func([]byte) []byte { return nil })
		h.open()
		if again := begin(t, h.store, "a"); again.Attempt != 2 {
			t.Errorf("%+v, then %+v", m, again)
		}
	})
}

func (h *house) inJournal() int {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	return h.store.journal.inUse()
}

// TestJournalThatTakesNothing: keys are begun in commits.
func TestJournalThatTakesNothing(t *testing.T) {
	for name, spoil := range map[string]func(*Store){
		"full":            func(s *Store) { s.journal.slots = make([]slot, mostSlots); s.journal.free = nil },
		"disk that fails": func(s *Store) { _ = s.journal.file.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			h := journaled(t, nil)
			spoil(h.store)
			if m := begin(t, h.store, "a"); m.Attempt != 1 || m.Verdict != dedupe.Begun || h.wrote.Load() != 1 {
				t.Errorf("%+v, in %d commits", m, h.wrote.Load())
			}
			h.store.journal = nil // Close would fail
		})
	}
	t.Run("no file", func(t *testing.T) {
		h := journaled(t, nil)
		h.close()
		before := h.store.Unjournaled()
		h.o.Journal = filepath.Join(t.TempDir(), "missing", "begun")
		h.open()
		if m := begin(t, h.store, "a"); m.Attempt != 1 || m.Verdict != dedupe.Begun || h.wrote.Load() != 1 {
			t.Errorf("%+v, in %d commits", m, h.wrote.Load())
		}
		if err := h.store.Unjournaled(); before != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it says %v where there was a journal, and %v where there is none", before, err)
		}
	})
}

// TestSlotsAreUsedAgain, those of marks whose later state is on stable storage.
func TestSlotsAreUsedAgain(t *testing.T) {
	h := journaled(t, nil)
	for i := range 100 {
		finish(t, h.store, fmt.Sprint(i))
	}
	if n := len(h.store.journal.slots); n > 1 {
		t.Errorf("%d slots for one mark at a time", n)
	}
}

// TestAFencedDatabaseBeginsNothingWithoutIt, what would need no commit neither: its done
// mark would.
func TestAFencedDatabaseBeginsNothingWithoutIt(t *testing.T) {
	h := journaled(t, nil)
	fenced := make(chan struct{})
	close(fenced)
	h.store.failed = fenced
	if begin(t, h.store, "a"); h.wrote.Load() != 1 || h.inJournal() != 0 {
		t.Errorf("begun in %d commits, with %d slots", h.wrote.Load(), h.inJournal())
	}
}

// during looks at the store within the commit that it writes to.
type during struct {
	store *Store
	slots int // in use
}

func (d *during) Write(*kv.Tx, []int) error {
	d.slots = d.store.journal.inUse()
	return nil
}
func (*during) Synced([]int) {}

// TestSlotIsKeptUntilTheSync: a kill within the commit must find the attempt.
func TestSlotIsKeptUntilTheSync(t *testing.T) {
	h := journaled(t, nil)
	d := &during{store: h.store}
	m := begin(t, h.store, "a")
	kv.Attach(h.db, d).Post(1, 0) // it is in the next commit
	if err := h.store.Done(t.Context(), dedupe.Key{Scope: "s", Key: "a"}, m); err != nil {
		t.Fatal(err)
	}
	if d.slots != 1 || h.inJournal() != 0 {
		t.Errorf("%d slots are in use before the sync, and %d after it", d.slots, h.inJournal())
	}
}

// TestOneBegins of those who come at once, some with and some without a commit.
func TestOneBegins(t *testing.T) {
	h := journaled(t, nil)
	for i := range 50 {
		var begun atomic.Int64
		var all sync.WaitGroup
		for n := range 8 {
			all.Go(func() {
				k, f := dedupe.Key{Scope: "s", Key: fmt.Sprint(i)}, dedupe.Fingerprint{1}
				var m dedupe.Mark
				var err error
				if n%2 == 0 {
					m, err = h.store.Begin(t.Context(), k, f, time.Minute)
				} else {
					o := h.store.opOf(k)
					m, err = h.store.beginInCommit(t.Context(), o, f, time.Minute, h.store.tokens.Add(1))
				}
				if err != nil {
					t.Error(err)
				} else if m.Verdict == dedupe.Begun {
					begun.Add(1)
				}
			})
		}
		if all.Wait(); begun.Load() != 1 {
			t.Errorf("%d have begun %d", begun.Load(), i)
		}
	}
}

// TestNothingThatCanBeTriedOutIsInTheJournal where there are keys.
func TestNothingThatCanBeTriedOutIsInTheJournal(t *testing.T) {
	withAndWithoutKeys(t, func(t *testing.T, h *house) {
		k, f := dedupe.Key{Scope: "s", Key: "a"}, dedupe.Fingerprint([]byte("of some contents"))
		if _, err := h.store.Begin(t.Context(), k, f, time.Minute); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(h.o.Journal)
		if err != nil || len(b) != slotSize {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		hash, plain := k.Hash(), h.o.Keys == nil
		if bytes.Contains(b, hash[:]) != plain || bytes.Contains(b, f[:]) != plain {
			t.Errorf("%q", b)
		}
	})
}

// TestASlotOfWhatHasPassed: of a mark that is not known any more, for its window or for
// want of bytes, a slot that was freed long before tells nothing.
func TestASlotOfWhatHasPassed(t *testing.T) {
	for name, pass := range map[string]func(h *house){
		"window": func(h *house) {
			for _, other := range []string{"b", "c"} {
				h.pass(h.o.Window)
				finish(t, h.store, other) // in a bucket of its own
			}
			h.sweep()
		},
		"bytes": func(h *house) { h.plant(evictedKey, binary.BigEndian.AppendUint64(nil, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			h := journaled(t, nil)
			begin(t, h.store, "a")
			slot, err := os.ReadFile(h.o.Journal)
			if err != nil {
				t.Fatal(err)
			}
			pass(h)
			before := h.store.Stats().Marks
			h.close()
			h.edit(func([]byte) []byte { return slot })
			h.open()
			if now := h.store.Stats().Marks; now != before {
				t.Errorf("%d marks, where there were %d", now, before)
			}
			if m := begin(t, h.store, "a"); m.Attempt != 1 || m.Verdict != dedupe.Begun {
				t.Errorf("%+v, want the first attempt", m)
			}
		})
	}
}

// TestAJournalRemembersTheClock: where the window of a subscription has passed, and a key
// was begun again, a kill takes back neither: it is no repeat, and the attempt counts.
func TestAJournalRemembersTheClock(t *testing.T) {
	withAndWithoutKeys(t, func(t *testing.T, h *house) {
		const window = time.Hour
		short := func() *Store { return h.within(window).(*Store) }
		h.pass(70 * time.Minute)
		finish(t, short(), "a")
		h.pass(6 * time.Minute)
		finish(t, h.store, "b") // in the next bucket
		h.pass(window + time.Minute)
		h.wrote.Store(0)
		if m := begin(t, short(), "a"); m.Verdict != dedupe.Begun || m.Attempt != 1 {
			t.Fatalf("%+v, in %d commits", m, h.wrote.Load())
		}
		h.reopen()
		if m := begin(t, short(), "a"); m.Verdict != dedupe.Begun || m.Attempt != 2 {
			t.Errorf("%+v, want the second attempt", m)
		}
		<-h.store.learned
		h.wrote.Store(0)
		h.pass(time.Second)
		begin(t, short(), "c")
		before := h.store.now()
		if h.reopen(); h.wrote.Load() != 1 || h.store.now() < before { // a commit restores it
			t.Errorf("the clock was at %v and goes on at %v, after %d commits", before, h.store.now(), h.wrote.Load())
		}
	})
}

// TestASlotFromBeforeTheKeysCounts, though what it has is encrypted when it is restored.
func TestASlotFromBeforeTheKeysCounts(t *testing.T) {
	h := journaled(t, nil)
	begin(t, h.store, "a")
	h.close()
	h.o.Keys = ring(t, "0a")
	h.open()
	if m := begin(t, h.store, "a"); m.Attempt != 2 || h.store.Damaged() != 0 {
		t.Errorf("%+v, %d damaged", m, h.store.Damaged())
	}
}

// A key that nothing but the journal needs is missed, and its slots are not taken for damage:
// as after an opening that could not empty it.
func TestTheJournalsKeyIsNeeded(t *testing.T) {
	h := journaled(t, ring(t, "0a"))
	begin(t, h.store, "a")
	h.close()
	left, err := os.ReadFile(h.o.Journal)
	if err != nil || len(left) == 0 {
		t.Fatalf("%d bytes are left, %v", len(left), err)
	}
	h.o.Keys = ring(t, "0b", "0a")
	if err := os.RemoveAll(h.dir); err != nil { // and what lies there under the older key
		t.Fatal(err)
	}
	if h.db, err = kv.Open(t.Context(), kv.Options{Dir: h.dir, MemTableSize: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	for _, keys := range []*keyring.Ring{nil, ring(t, "0b")} {
		o := h.o
		o.Keys = keys
		missing := &keyring.MissingError{}
		if _, err := Open(h.db, o); !errors.As(err, &missing) || missing.ID != ring(t, "0a").Current() {
			t.Errorf("%v, want one that names the older key", err)
		}
	}
	if h.store, err = Open(h.db, h.o); err != nil {
		t.Fatal(err)
	}
	if m := begin(t, h.store, "a"); m.Verdict != dedupe.Begun || h.store.Damaged() != 0 {
		t.Errorf("%+v, %d damaged", m, h.store.Damaged())
	}
}
