package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/dedupetest"
	"github.com/remora-mq/remora/internal/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a database directory, a store in it, and the store's time.
type house struct {
	t     *testing.T
	dir   string
	o     Options
	time  atomic.Int64
	wrote atomic.Int64 // commits that wrote something
	db    *kv.DB
	store *Store
}

func newHouse(t *testing.T, window time.Duration) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir()}
	h.o = Options{Window: window, Clock: func() time.Duration { return time.Duration(h.time.Load()) }, SweepEvery: time.Hour}
	h.open()
	t.Cleanup(h.close)
	return h
}

func (h *house) open() {
	h.t.Helper()
	var err error
	o := kv.Options{Dir: h.dir, MemTableSize: 1 << 20, CloseWait: 2 * time.Minute, OnCommit: func(c kv.CommitStats) {
		if c.Bytes > 0 {
			h.wrote.Add(1)
		}
	}}
	if h.db, err = kv.Open(context.Background(), o); err != nil {
		h.t.Fatal(err)
	}
	if h.store, err = Open(h.db, h.o); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) close() {
	if err := errors.Join(h.store.Close(), h.db.Close()); err != nil {
		h.t.Error(err)
	}
}

func (h *house) reopen() dedupe.Store {
	h.t.Helper()
	h.close()
	h.open()
	return h.store
}

func (h *house) pass(d time.Duration) { h.time.Add(int64(d)) }

func TestContract(t *testing.T) {
	dedupetest.Run(t, func(t *testing.T) *dedupetest.Instance {
		h := newHouse(t, 10*time.Hour)
		return &dedupetest.Instance{Store: h.store, Window: h.o.Window, Advance: h.pass, Reopen: h.reopen, Within: h.within}
	})
}

func (h *house) within(window time.Duration) dedupe.Store { return h.store.Within(window) }

// A window that is shorter than the store's, and than its buckets, keeps the same.
func TestContractWithinAWindow(t *testing.T) {
	dedupetest.Run(t, func(t *testing.T) *dedupetest.Instance {
		const window = 10 * time.Hour
		h := newHouse(t, 20*window)
		return &dedupetest.Instance{
			Store: h.within(window), Window: window, Advance: h.pass, Within: h.within,
			Reopen: func() dedupe.Store { h.reopen(); return h.within(window) },
		}
	})
}

// Marks of a window that is no longer the store's longest, and of one that has
// become it, go on counting for theirs.
func TestLongestWindowMayChange(t *testing.T) {
	h := newHouse(t, time.Hour)
	finish(t, h.store, "a")
	h.close()
	h.o.Window = 10 * time.Hour
	h.open()
	hour := h.within(time.Hour).(*Store)
	h.pass(50 * time.Minute)
	if m := begin(t, hour, "a"); m.Verdict != dedupe.Repeat {
		t.Errorf("50 minutes old, beside a longer window: %v", m.Verdict)
	}
	finish(t, hour, "b")
	h.close()
	h.o.Window = time.Hour
	h.open()
	h.pass(50 * time.Minute)
	if m := begin(t, h.store, "b"); m.Verdict != dedupe.Repeat {
		t.Errorf("50 minutes old, alone again: %v", m.Verdict)
	}
	h.pass(11 * time.Minute)
	if m := begin(t, h.store, "b"); m.Verdict != dedupe.Begun {
		t.Errorf("61 minutes old: %v", m.Verdict)
	}
}

func begin(t *testing.T, s *Store, k string) dedupe.Mark {
	t.Helper()
	m, err := s.Begin(t.Context(), dedupe.Key{Scope: "s", Key: k}, dedupe.Fingerprint{1}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func finish(t *testing.T, s *Store, k string) {
	t.Helper()
	if err := s.Done(t.Context(), dedupe.Key{Scope: "s", Key: k}, begin(t, s, k)); err != nil {
		t.Fatal(err)
	}
}

func TestLeasesOfAFormerRunHaveEnded(t *testing.T) {
	h := newHouse(t, time.Hour)
	begin(t, h.store, "a")
	h.reopen()
	if m := begin(t, h.store, "a"); m.Verdict != dedupe.Begun || m.Attempt != 2 {
		t.Errorf("got %v, attempt %d; want begun, 2", m.Verdict, m.Attempt)
	}
}

// The clock goes on where it stood, however long the store was closed, and
// whatever the clock of the machine says by then.
func TestTimeSwitchedOffDoesNotCount(t *testing.T) {
	h := newHouse(t, time.Hour)
	finish(t, h.store, "a")
	for range 3 {
		h.pass(15 * time.Minute)
		finish(t, h.store, "traffic"+fmt.Sprint(h.time.Load()))
		h.close()
		h.pass(1000 * time.Hour)
		h.open()
	}
	if m := begin(t, h.store, "a"); m.Verdict != dedupe.Repeat {
		t.Errorf("after 45 minutes open and 3000 hours closed: %v", m.Verdict)
	}
	h.time.Store(0) // the machine was started anew: its monotonic clock too
	h.reopen()
	if m := begin(t, h.store, "a"); m.Verdict != dedupe.Repeat {
		t.Errorf("after a new monotonic clock: %v", m.Verdict)
	}
}

// Restarts more often than a bucket is long must not stop the clock.
func TestClockGoesOnOverManyRestarts(t *testing.T) {
	h := newHouse(t, time.Hour)
	for range 100 {
		h.pass(time.Minute)
		finish(t, h.store, fmt.Sprint("traffic", h.time.Load()))
		if h.time.Load()%int64(10*time.Minute) == 0 {
			h.reopen()
		}
	}
	if now := h.store.now(); now != 100*time.Minute {
		t.Errorf("the store's clock says %v after 100 minutes", now)
	}
}

// A mark at the end of its bucket is as young as the bucket's end.
func TestWindowIsOfTheMarkNotOfItsBucket(t *testing.T) {
	h := newHouse(t, 80*time.Minute) // buckets of 10 minutes
	finish(t, h.store, "first")
	h.pass(9 * time.Minute)
	finish(t, h.store, "a")
	h.pass(2 * time.Minute)
	finish(t, h.store, "next bucket")
	h.pass(77 * time.Minute)
	if m := begin(t, h.store, "a"); m.Verdict != dedupe.Repeat {
		t.Errorf("79 minutes old: %v", m.Verdict)
	}
}

func TestDeadBucketsAreDeletedWhole(t *testing.T) {
	h := newHouse(t, time.Hour)
	for i := range 3 * sweepChunk {
		finish(t, h.store, fmt.Sprint("old", i))
	}
	for range 16 {
		h.pass(10 * time.Minute)
		finish(t, h.store, fmt.Sprint("traffic", h.time.Load()))
	}
	if err := h.store.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := h.marks(); n > 9 {
		t.Errorf("%d marks are on disk, 9 at most are younger than the window and a bucket", n)
	}
	if n := len(h.store.buckets.all); n > bucketsPerWindow+2 {
		t.Errorf("%d buckets", n)
	}
	h.reopen()
	if n := len(h.store.buckets.all); n > bucketsPerWindow+2 {
		t.Errorf("%d buckets after reopening", n)
	}
}

func (h *house) marks() (n int) {
	h.t.Helper()
	err := h.db.Scan(kv.Scan{Prefix: []byte(bucketPrefix), KeysOnly: true}, func(_, _ []byte) (bool, error) {
		n++
		return true, nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

func TestSweeperRunsByItself(t *testing.T) {
	h := newHouse(t, time.Second)
	h.close()
	h.o.SweepEvery = time.Millisecond
	h.open()
	finish(t, h.store, "a")
	h.pass(2 * time.Second)
	finish(t, h.store, "b")
	h.pass(2 * time.Second)
	finish(t, h.store, "c")
	for deadline := time.Now().Add(time.Minute); h.marks() > 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d marks are still on disk", h.marks())
		}
	}
}

func TestDamagedMarkIsNeverARepeat(t *testing.T) {
	h := newHouse(t, time.Hour)
	finish(t, h.store, "a")
	key := markKey(h.store.buckets.newest(), hash(dedupe.Key{Scope: "s", Key: "a"}.Hash()))
	value, err := h.db.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range value {
		b := append([]byte(nil), value...)
		b[i] ^= 0x10
		if _, err := decode(b); err == nil {
			t.Errorf("a flip in byte %d of %d is not seen", i, len(value))
		}
		if _, err := decode(value[:i]); err == nil {
			t.Errorf("a mark cut to %d bytes is not seen", i)
		}
	}
	value[len(value)-1] ^= 1 // the checksum: all else is still that of a done mark
	h.plant(key, value)
	if m := begin(t, h.store, "a"); m.Verdict != dedupe.Begun || h.store.Damaged() != 1 {
		t.Errorf("a damaged mark: %v, counted %d", m.Verdict, h.store.Damaged())
	}
}

// planter writes behind the store's back.
type planter struct{ key, value []byte }

func (planter) Write(tx *kv.Tx, ops []planter) error {
	for _, o := range ops {
		tx.Set(o.key, o.value)
	}
	return nil
}
func (planter) Synced([]planter) {}

func (h *house) plant(key, value []byte) {
	h.t.Helper()
	q := kv.Attach(h.db, planter{})
	if err := q.Commit(context.Background(), planter{key, value}, len(key)+len(value)); err != nil {
		h.t.Fatal(err)
	}
}

func TestWindowMayChange(t *testing.T) {
	h := newHouse(t, time.Hour)
	finish(t, h.store, "a")
	h.pass(40 * time.Minute)
	finish(t, h.store, "b")
	h.close()
	h.o.Window = 10 * time.Minute
	h.open()
	h.pass(time.Minute)
	finish(t, h.store, "c")
	if m := begin(t, h.store, "b"); m.Verdict != dedupe.Repeat {
		t.Errorf("one minute old: %v", m.Verdict)
	}
	if _, err := Open(h.db, Options{Window: time.Millisecond}); err == nil {
		t.Error("a window of 1 ms was taken")
	}
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		effect := rapid.Custom(func(t *rapid.T) (f dedupe.Fingerprint) {
			copy(f[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
			return f
		})
		r := record{
			held: rapid.Bool().Draw(t, "held"), run: rapid.Uint64().Draw(t, "run"), token: rapid.Uint64().Draw(t, "token"),
			until:    time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "ms")) * time.Millisecond,
			attempts: rapid.Uint32().Draw(t, "attempts"), effect: effect.Draw(t, "effect"),
			done: rapid.SliceOfN(effect, 0, maxDone).Draw(t, "done"),
		}
		r.date(time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "now"))*time.Microsecond, rapid.Bool().Draw(t, "dated"))
		b := r.encode()
		got, err := decode(b)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(r) || len(b) > maxRecord {
			t.Fatalf("%v, %d bytes: %+v, want %+v", err, len(b), got, r)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add((&record{}).encode())
	f.Add((&record{done: make([]dedupe.Fingerprint, maxDone)}).encode())
	f.Add((&record{dated: true, at: time.Hour}).encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decode(b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Fatalf("%x is read as %+v, which is written otherwise", b, r)
		}
	})
}
