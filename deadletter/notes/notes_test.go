package notes

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// opened is a store whose database may be closed and opened again.
type opened struct {
	*Store

	t   *testing.T
	dir string
	db  *kv.DB
}

func open(t *testing.T, keys *keyring.Ring) *opened {
	t.Helper()
	o := &opened{t: t, dir: t.TempDir()}
	o.reopen(keys)
	t.Cleanup(func() { must(t, o.db.Close()) })
	return o
}

func (o *opened) reopen(keys *keyring.Ring) {
	o.t.Helper()
	if o.db != nil {
		must(o.t, o.db.Close())
	}
	var err error
	o.db, err = kv.Open(o.t.Context(), kv.Options{Dir: o.dir, CloseWait: 2 * time.Minute})
	must(o.t, err)
	o.Store, err = Open(o.db, keys, nil)
	must(o.t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const queue = "broker-a/0"

func (o *opened) look(q broker.DeadQueue) Waiting {
	o.t.Helper()
	q.Name = queue
	w, err := o.Look(o.t.Context(), "g", q)
	must(o.t, err)
	return w
}

func (o *opened) settle(offsets ...int64) {
	o.t.Helper()
	must(o.t, o.Settle(o.t.Context(), "g", queue, offsets))
}

// entries counts what is on disk.
func (o *opened) entries(prefix string) (n int) {
	o.t.Helper()
	must(o.t, o.db.Scan(kv.Scan{Prefix: []byte(prefix)}, func(_, _ []byte) (bool, error) { n++; return true, nil }))
	return n
}

// offsets that wait, one by one.
func offsets(w Waiting) (all []int64) {
	for at := w.From(); at < w.Next(); at = w.After(at + 1) {
		all = append(all, at)
	}
	return all
}

// Random offsets are settled, at random the store is opened again, the broker
// deletes and others pass: what waits is always what a map says.
func TestWhatWaitsIsWhatWasNotSettled(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	o := open(t, nil)
	const next = 3*blockBits + 100
	settled, q := map[int64]bool{}, broker.DeadQueue{Next: next}
	for step := range 60 {
		var some []int64
		for range r.IntN(250) {
			some = append(some, r.Int64N(next))
		}
		if step%5 == 0 { // a run of them, at the front
			from := o.look(q).From()
			for at := from; at < min(from+1000, next); at++ {
				some = append(some, at)
			}
		}
		for _, at := range some {
			settled[at] = true
		}
		o.settle(some...)
		switch r.IntN(4) {
		case 0:
			o.reopen(nil)
		case 1:
			q.First = min(q.First+r.Int64N(500), next)
		case 2:
			q.Passed = min(max(q.Passed, q.First+r.Int64N(500)), next)
		}
		w := o.look(q)
		var want []int64
		for at := max(q.First, q.Passed); at < next; at++ {
			if !settled[at] {
				want = append(want, at)
			}
			if w.Has(at) == settled[at] {
				t.Fatalf("step %d: offset %d waits: %t", step, at, w.Has(at))
			}
		}
		if got := offsets(w); !slices.Equal(got, want) || w.Count() != int64(len(want)) {
			t.Fatalf("step %d: %d wait, counted %d, want %d", step, len(got), w.Count(), len(want))
		}
	}
	q.First = next
	if w := o.look(q); w.Count() != 0 || w.From() != next || o.entries(blockPrefix) > 1 {
		t.Errorf("%d wait from %d on, %d blocks are left", w.Count(), w.From(), o.entries(blockPrefix))
	}
}

// A topic that was deleted and made anew has another 0: all of it waits.
func TestTopicThatBeginsAnew(t *testing.T) {
	o := open(t, nil)
	o.settle(0, 1, 2, 9000)
	for range 2 {
		w := o.look(broker.DeadQueue{Next: 2, Passed: 3})
		if got := offsets(w); !slices.Equal(got, []int64{0, 1}) {
			t.Errorf("%v wait", got)
		}
		o.reopen(nil)
	}
	if o.entries(blockPrefix) != 0 {
		t.Error("blocks are left")
	}
	o.settle(0)
	if got := offsets(o.look(broker.DeadQueue{Next: 3})); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("%v wait", got)
	}
}

func TestTooFarIsRefused(t *testing.T) {
	o := open(t, nil)
	if err := o.Settle(t.Context(), "g", queue, []int64{blockBits * blocksMost}); err == nil {
		t.Error("no error")
	}
	o.settle(blockBits*blocksMost - 1)
	if w := o.look(broker.DeadQueue{Next: blockBits * blocksMost}); w.Count() != blockBits*blocksMost-1 {
		t.Errorf("%d wait", w.Count())
	}
}

// Reasons are found by group and message, the last one counts, and they survive.
func TestReasons(t *testing.T) {
	o := open(t, nil)
	at := time.UnixMilli(1_700_000_000_000)
	o.Note("g", "A", Reason{Cause: "rejected: 422", Attempts: 1, At: at})
	o.Note("g", "B", Reason{Cause: strings.Repeat("x", 300), Attempts: 2, At: at})
	o.Note("g", "A", Reason{Cause: "attempts: 500", Attempts: 16, At: at.Add(time.Hour)})
	for range 2 {
		why, ok := o.Reason("g", "A")
		if !ok || why.Cause != "attempts: 500" || why.Attempts != 16 || !why.At.Equal(at.Add(time.Hour)) {
			t.Errorf("A: %+v %t", why, ok)
		}
		if why, ok = o.Reason("g", "B"); !ok || why.Cause != strings.Repeat("x", maxCause) {
			t.Errorf("B: %+v %t", why, ok)
		}
		if why, ok = o.Reason("other", "A"); ok {
			t.Errorf("another group's: %+v", why)
		}
		o.reopen(nil)
		if n := o.entries(reasonPrefix); n != 2 {
			t.Errorf("%d entries", n)
		}
	}
}

func TestOldestReasonsGo(t *testing.T) {
	r := newReasons()
	var gone []uint64
	for i := range uint64(10) {
		gone = append(gone, r.put(i+1, numbered{hash: hash{byte(i % 7)}}, 5)...)
	}
	slices.Sort(gone)
	if len(r.all) != 5 || len(r.of) != 5 || !slices.Equal(gone, []uint64{1, 2, 3, 4, 5}) || !slices.Equal(slices.Sorted(maps.Keys(r.all)), []uint64{6, 7, 8, 9, 10}) {
		t.Errorf("%v are left, gone are %v", r.all, gone)
	}
}

func ring(t *testing.T, keys ...byte) *keyring.Ring {
	t.Helper()
	var lines []string
	for _, k := range keys {
		lines = append(lines, strings.Repeat(fmt.Sprintf("%02x", k), 32))
	}
	r, err := keyring.Parse(strings.Join(lines, "\n"))
	must(t, err)
	return r
}

// Notes are encrypted under the current key, also those from before: an older key
// can be taken away after the next start.
func TestNotesAreEncryptedUnderTheCurrentKey(t *testing.T) {
	o := open(t, nil)
	o.Note("g", "A", Reason{Cause: "secret cause"})
	o.settle(1, 5000)
	for _, keys := range []*keyring.Ring{ring(t, 1), ring(t, 2, 1), ring(t, 2)} {
		o.reopen(keys)
		if why, ok := o.Reason("g", "A"); !ok || why.Cause != "secret cause" || o.Damaged() != 0 {
			t.Errorf("reason %+v, %d damaged", why, o.Damaged())
		}
		if w := o.look(broker.DeadQueue{Next: 5002}); w.Count() != 5000 {
			t.Errorf("%d wait", w.Count())
		}
		o.settle() // nothing; a commit takes what waits
		must(t, o.commit(t.Context(), &op{}))
		must(t, o.db.Scan(kv.Scan{Prefix: []byte(prefix)}, func(key, value []byte) (bool, error) {
			if id, _ := keyring.IDOf(value[1:]); value[0] != encrypted || id != keys.Current() || bytes.Contains(value, []byte("secret")) {
				t.Errorf("%q lies as %.40q", key, value)
			}
			return true, nil
		}))
	}
	o.reopen(ring(t, 9))
	if _, ok := o.Reason("g", "A"); ok || o.Damaged() == 0 || o.look(broker.DeadQueue{Next: 5002}).Count() != 5002 {
		t.Error("read without its key")
	}
}

// What is damaged is counted, and waits.
func TestDamagedNotesAreCounted(t *testing.T) {
	o := open(t, nil)
	o.Note("g", "A", Reason{Cause: "c"})
	o.settle(3)
	var keys [][]byte
	must(t, o.db.Scan(kv.Scan{Prefix: []byte(prefix)}, func(key, _ []byte) (bool, error) {
		keys = append(keys, slices.Clone(key))
		return true, nil
	}))
	for _, key := range keys {
		for _, damaged := range [][]byte{nil, {version}, {version, 1, 2, 3, 4, 5}} {
			whole, err := o.db.Get(key)
			must(t, err)
			must(t, raw(o, key, damaged))
			o.reopen(nil)
			if o.Damaged() != 1 {
				t.Errorf("%q as %v: %d are damaged", key, damaged, o.Damaged())
			}
			must(t, raw(o, key, whole))
			o.reopen(nil)
		}
	}
	if o.Damaged() != 0 || len(keys) != 3 {
		t.Errorf("%d damaged of %d", o.Damaged(), len(keys))
	}
}

// raw writes a value as it is.
func raw(o *opened, key, value []byte) error {
	q := kv.Attach[pair](o.db, rawWriter{})
	return q.Commit(o.t.Context(), pair{key, value}, len(key)+len(value)+100)
}

type rawWriter struct{}

func (rawWriter) Write(tx *kv.Tx, ops []pair) error {
	for _, p := range ops {
		tx.Set(p.key, p.plain)
	}
	return nil
}
func (rawWriter) Synced([]pair) {}
