package local

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

// onDisk is what the marks take, as they lie there.
func (h *house) onDisk() (marks, bytes int64) {
	h.t.Helper()
	err := h.db.Scan(kv.Scan{Prefix: []byte(bucketPrefix)}, func(k, v []byte) (bool, error) {
		marks++
		bytes += int64(len(k) + len(v))
		return true, nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return marks, bytes
}

// counted fails the test unless what is told is what is there. The sweeper may be
// at it: then it is so when that has ended.
func (h *house) counted() Stats {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		got := h.store.Stats()
		marks, bytes := h.onDisk()
		if got.Marks == marks && got.Bytes == bytes {
			return got
		}
		if time.Now().After(end) {
			h.t.Errorf("%d marks of %d bytes are told, %d of %d are there", got.Marks, got.Bytes, marks, bytes)
			return got
		}
	}
}

// sweep does what the sweeper does, which may be at it too.
func (h *house) sweep() {
	h.t.Helper()
	if err := h.store.sweep(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// bounded is a house with few bytes for marks.
func bounded(t *testing.T, limit int64, keys *keyring.Ring) *house {
	t.Helper()
	h := newHouse(t, time.Hour)
	h.close()
	h.o.Limit, h.o.Keys = limit, keys
	h.open()
	return h
}

// Above their bytes the oldest marks go; what is younger than the window that is
// told is known, also after a restart.
func TestMarksAreBoundedByBytes(t *testing.T) {
	const limit, n = 16 << 10, 400
	for name, keys := range map[string]*keyring.Ring{"plain": nil, "encrypted": ring(t, "0a")} {
		t.Run(name, func(t *testing.T) {
			h := bounded(t, limit, keys)
			for i := range n {
				h.pass(time.Second)
				finish(t, h.store, fmt.Sprint(i))
			}
			for _, how := range []func(){func() {}, func() { h.reopen() }} {
				how()
				h.sweep()
				got := h.counted()
				if got.Bytes > limit || got.Bytes < limit*3/4 {
					t.Fatalf("%d marks have %d bytes, the limit is %d", got.Marks, got.Bytes, limit)
				}
				if got.Window >= h.o.Window || got.Window < time.Duration(got.Marks-2*bucketsPerLimit)*time.Second { // some begun in a bucket and done in the next
					t.Fatalf("the window in effect is %v, of %d marks one a second", got.Window, got.Marks)
				}
				young := int(got.Window.Seconds())
				for i := n - young; i < n; i++ {
					if m := begin(t, h.store, fmt.Sprint(i)); m.Verdict != dedupe.Repeat {
						t.Fatalf("%d of %d, in the window: %v", i, n, m.Verdict)
					}
				}
			}
			if m := begin(t, h.store, "0"); m.Verdict != dedupe.Begun {
				t.Errorf("the oldest: %v", m.Verdict)
			}
		})
	}
}

// A mark whose lease runs is not forgotten, however old it is, and one that was
// done since is not begun again by that.
func TestMarksUnderALeaseOutliveTheirBytes(t *testing.T) {
	for name, keys := range map[string]*keyring.Ring{"plain": nil, "encrypted": ring(t, "0a")} {
		t.Run(name, func(t *testing.T) {
			h := bounded(t, 8<<10, keys)
			key := dedupe.Key{Scope: "s", Key: "slow"}
			slow, err := h.store.Begin(t.Context(), key, dedupe.Fingerprint{1}, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			once := begin(t, h.store, "once")
			for i := range 300 {
				if finish(t, h.store, fmt.Sprint(i)); i == 50 {
					if err := h.store.Done(t.Context(), dedupe.Key{Scope: "s", Key: "once"}, once); err != nil {
						t.Fatal(err)
					}
				}
			}
			h.sweep()
			h.counted()
			if m := begin(t, h.store, "slow"); m.Verdict != dedupe.InProgress {
				t.Errorf("its lease runs: %v", m.Verdict)
			}
			if m := begin(t, h.store, "once"); m.Verdict == dedupe.InProgress {
				t.Error("a mark that was done is in progress again")
			}
			if err := h.store.Done(t.Context(), key, slow); err != nil {
				t.Fatal(err)
			}
			h.reopen()
			repeats(t, h, "slow")
			h.counted()
		})
	}
}

// Whatever a crash leaves of a bucket that is being deleted is counted, and goes.
func TestCrashWhileMarksAreEvicted(t *testing.T) {
	h := bounded(t, 1<<20, nil)
	for i := range 3 * sweepChunk {
		finish(t, h.store, fmt.Sprint(i))
	}
	h.pass(10 * time.Minute)
	finish(t, h.store, "newest")
	first, next := h.store.buckets.all[0].start, h.store.buckets.newest()
	ctx, cancel := context.WithCancel(t.Context())
	chunks := 0
	err := h.store.empty(ctx, first, func(keys [][]byte) (*op, int) {
		if chunks++; chunks == 2 {
			cancel()
		}
		e := &eviction{bucket: first, next: next, keys: keys}
		return &op{evict: e}, e.size()
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	h.reopen()
	if got := h.counted(); got.Marks != 2*sweepChunk+1 {
		t.Errorf("%+v", got)
	}
	h.close()
	h.o.Limit = 1000
	h.open()
	h.sweep()
	if got := h.counted(); got.Marks != 1 {
		t.Errorf("%+v", got)
	}
	repeats(t, h, "newest")
}

// A bucket whose count is of another version, or damaged, is counted.
func TestBucketsWithoutACount(t *testing.T) {
	h := newHouse(t, time.Hour)
	for i := range 10 {
		finish(t, h.store, fmt.Sprint(i))
		h.pass(3 * time.Minute)
	}
	counts := [][]byte{}
	for _, b := range h.store.buckets.all {
		counts = append(counts, countKey(b.start))
	}
	if len(counts) < 4 {
		t.Fatal(len(counts))
	}
	h.plant(counts[0], []byte("an older one"))
	v, err := h.db.Get(counts[1])
	if err != nil {
		t.Fatal(err)
	}
	v[7] ^= 1
	h.plant(counts[1], v)
	h.reopen()
	if got := h.counted(); got.Marks != 10 {
		t.Errorf("%+v", got)
	}
	h.close()
	db, err := kv.Open(t.Context(), kv.Options{Dir: h.dir, MemTableSize: 1 << 20, CloseWait: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	got, err := StatsOf(db, h.o)
	if err != nil || got.Marks != 10 || got.Window != time.Hour {
		t.Errorf("%+v, %v", got, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	if want := h.counted(); want.Marks != got.Marks || want.Bytes != got.Bytes {
		t.Errorf("%+v, %+v without a store", want, got)
	}
}
