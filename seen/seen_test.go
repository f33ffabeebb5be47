package seen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a database directory, and a store in it.
type house struct {
	t     tester
	dir   string
	o     Options
	lazy  time.Duration // of the database
	db    *kv.DB
	store *Store
}

type tester interface {
	Helper()
	Fatal(args ...any)
	Errorf(format string, args ...any)
}

func newHouse(t *testing.T, o Options) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), o: o}
	h.open()
	t.Cleanup(h.close)
	return h
}

func (h *house) open() {
	h.t.Helper()
	var err error
	if h.db, err = kv.Open(context.Background(), kv.Options{Dir: h.dir, MemTableSize: 1 << 20, CloseWait: 2 * time.Minute, LazyDelay: h.lazy}); err != nil {
		h.t.Fatal(err)
	}
	if h.store, err = Open(h.db, h.o); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) close() {
	if err := errors.Join(h.store.Close(), h.db.Close()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) reopen() {
	h.t.Helper()
	h.close()
	h.open()
}

// crash is a reopening without the store's end.
func (h *house) crash() {
	h.t.Helper()
	if err := h.db.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.open()
}

func (h *house) stream(group string, lazy bool) *Stream {
	h.t.Helper()
	st, err := h.store.Stream(context.Background(), group, "orders", lazy)
	if err != nil {
		h.t.Fatal(err)
	}
	return st
}

func (h *house) known() []Known {
	h.t.Helper()
	all, err := h.store.Streams(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// numbers reads all pages.
func (h *house) numbers(group string, origin message.SpoolID) (handled, dead []uint64) {
	h.t.Helper()
	for from := uint64(1); from > 0; {
		p, err := h.store.Numbers(context.Background(), group, "orders", origin, from)
		if err != nil {
			h.t.Fatal(err)
		}
		handled, dead = append(handled, numbersOf(p.Handled)...), append(dead, numbersOf(p.Dead)...)
		from = p.Next
	}
	return handled, dead
}

func numbersOf(ranges []Range) (all []uint64) {
	for _, r := range ranges {
		for n := r.First; n <= r.Last; n++ {
			all = append(all, n)
		}
	}
	return all
}

func (h *house) end(st *Stream, origin message.SpoolID, n uint64, how How) {
	h.t.Helper()
	if err := st.Ended(context.Background(), origin, n, how); err != nil {
		h.t.Fatal(err)
	}
}

var origin = message.SpoolID{1, 2, 3, 4, 5}

// TestNotesAgainstAMap: random notes of two origins, with reopenings and crashes, are
// those of a map.
func TestNotesAgainstAMap(t *testing.T) {
	seed := testscale.PrintedSeed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHouse(t, Options{})
	st := h.stream("billing", false)
	want := map[message.SpoolID]*expected{{1}: newExpected(), {2}: newExpected()}
	for range 3000 {
		o := message.SpoolID{byte(1 + random.IntN(2))}
		n := 1 + random.Uint64N(3000)
		switch what := random.IntN(200); {
		case what == 0:
			h.reopen()
			st = h.stream("billing", false)
		case what == 1:
			h.crash()
			st = h.stream("billing", false)
		case what < 12:
			h.end(st, o, n, Repeated)
			want[o].note(n, Repeated)
		case what < 22:
			h.end(st, o, n, Dead)
			want[o].note(n, Dead)
		default:
			st.Handled(o, n)
			want[o].note(n, Handled)
		}
	}
	for _, o := range h.known()[0].Origins {
		handled, dead := h.numbers("billing", o.ID)
		want[o.ID].compare(t, o, handled, dead)
	}
}

// expected is what a map knows of an origin.
type expected struct {
	handled, dead map[uint64]bool
	repeats       uint64
}

func newExpected() *expected { return &expected{handled: map[uint64]bool{}, dead: map[uint64]bool{}} }

func (e *expected) note(n uint64, how How) {
	switch {
	case e.handled[n] && how == Repeated:
		e.repeats++
	case how == Dead && !e.handled[n]:
		e.dead[n] = true
	case how != Dead:
		e.handled[n] = true
		delete(e.dead, n)
	}
}

func (e *expected) compare(t *testing.T, o Origin, handled, dead []uint64) {
	t.Helper()
	want, wantDead := slices.Sorted(maps.Keys(e.handled)), slices.Sorted(maps.Keys(e.dead))
	if !slices.Equal(handled, want) || !slices.Equal(dead, wantDead) {
		t.Errorf("origin %s: handled %v, dead %v; want %v and %v", o.ID, handled, dead, want, wantDead)
	}
	last := max(want[len(want)-1], wantDead[len(wantDead)-1])
	if o.Handled != uint64(len(want)) || o.Dead != uint64(len(wantDead)) || o.Repeats != e.repeats || o.Last != last {
		t.Errorf("told %+v of %d handled, %d dead, %d repeats up to %d", o, len(want), len(wantDead), e.repeats, last)
	}
}

// TestPagesGoOn: the pages of many blocks have every number once.
func TestPagesGoOn(t *testing.T) {
	h := newHouse(t, Options{})
	st := h.stream("billing", false)
	const last = (2*pageBlocks + 3) * perBlock
	for n := uint64(2); n <= last; n += perBlock / 2 {
		st.Handled(origin, n)
	}
	got, _ := h.numbers("billing", origin)
	if len(got) != 2*(2*pageBlocks+3) || got[0] != 2 || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("%d numbers from %d to %d", len(got), got[0], got[len(got)-1])
	}
	if p, err := h.store.Numbers(t.Context(), "billing", "orders", origin, last); err != nil || len(p.Handled) != 0 || p.Next != 0 {
		t.Errorf("behind the last one: %+v, %v", p, err)
	}
	st.Handled(origin, perBlock)
	if p, err := h.store.Numbers(t.Context(), "billing", "orders", origin, perBlock); err != nil || len(p.Handled) == 0 || p.Handled[0].First != perBlock {
		t.Errorf("from the last number of a block on: %+v, %v", p.Handled[:min(1, len(p.Handled))], err)
	}
	if _, err := h.store.Numbers(t.Context(), "billing", "payments", origin, 1); !errors.Is(err, ErrUnknown) {
		t.Errorf("of a topic that nobody consumes: %v", err)
	}
}

// TestANoteIsDurableWithWhatFollows: a note that nobody waits for is on stable
// storage when anybody has waited for a commit that was queued behind it.
func TestANoteIsDurableWithWhatFollows(t *testing.T) {
	h := &house{t: t, dir: t.TempDir(), lazy: time.Hour}
	h.open()
	defer h.close()
	st := h.stream("billing", false)
	other := kv.Attach(h.db, setter{})
	st.Handled(origin, 7)
	if err := other.Commit(t.Context(), pair{"x", "y"}, 100); err != nil {
		t.Fatal(err)
	}
	a, _ := place{st.id, origin}.of(7)
	v, err := h.db.Get(a.key()) // reads show only what is durable
	if err != nil {
		t.Fatalf("the note is not there: %v", err)
	}
	if b, err := decodeBlock(v); err != nil || !b.handled.has(6) {
		t.Errorf("block %v, %v", b, err)
	}
}

type pair struct{ key, value string }

// setter writes pairs as they come.
type setter struct{}

func (setter) Write(tx *kv.Tx, ops []pair) error {
	for _, p := range ops {
		tx.Set([]byte(p.key), []byte(p.value))
	}
	return nil
}

func (setter) Synced([]pair) {}

// TestWhatACrashMakesUnsure: lazy streams that were not ended, and no others, until
// they note no longer lazily, and then still for what was before.
func TestWhatACrashMakesUnsure(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	h := newHouse(t, Options{Now: func() time.Time { return now }})
	wantUnsure := func(when string, lazy, exact time.Time) {
		t.Helper()
		h.stream("lazy", true)
		h.stream("exact", false)
		all := h.known()
		if len(all) != 2 || !all[0].UnsureAt.Equal(lazy) || !all[1].UnsureAt.Equal(exact) || !all[0].Lazy || all[1].Lazy {
			t.Errorf("%s: %+v", when, all)
		}
		if !all[0].Since.Equal(time.UnixMilli(1_800_000_000_000)) {
			t.Errorf("%s: since %v", when, all[0].Since)
		}
	}
	wantUnsure("new", time.Time{}, time.Time{})
	now = now.Add(time.Hour)
	h.reopen()
	wantUnsure("ended and reopened", time.Time{}, time.Time{})
	now = now.Add(time.Hour)
	h.crash()
	wantUnsure("killed", now, time.Time{})
	killed := now
	now = now.Add(time.Hour)
	h.reopen()
	wantUnsure("reopened after that", killed, time.Time{})
	h.stream("lazy", false)
	now = now.Add(time.Hour)
	h.crash()
	if all := h.known(); !all[0].UnsureAt.Equal(killed) {
		t.Errorf("killed when it noted durably: %+v", all)
	}
}

// TestTheLowestNumbersAreForgotten: above the limit, of the origin that has most,
// also over a reopening; how far is told, and what is noted of them later is left out.
func TestTheLowestNumbersAreForgotten(t *testing.T) {
	const most = 8
	h := newHouse(t, Options{Limit: int64(most * blockSize)})
	st := h.stream("billing", false)
	rare := message.SpoolID{9}
	h.end(st, rare, 1, Handled)
	noted := func(from, to uint64) {
		for b := from; b < to; b++ {
			h.end(st, origin, b*perBlock+1, Handled)
		}
	}
	noted(0, 10)
	h.reopen()
	st = h.stream("billing", false)
	noted(10, 20)
	st.Handled(origin, 1)
	h.reopen() // and it is told after that, too
	var got Origin
	for _, o := range h.known()[0].Origins {
		if o.ID == origin {
			got = o
		}
	}
	if got.Forgotten != 13*perBlock || got.Handled != most-1 || got.Last != 19*perBlock+1 {
		t.Errorf("told %+v", got)
	}
	if kept, _ := h.numbers("billing", rare); len(kept) != 1 {
		t.Errorf("the other origin has %v", kept)
	}
	if kept, _ := h.numbers("billing", origin); kept[0] != 13*perBlock+1 {
		t.Errorf("the lowest is %d", kept[0])
	}
}

// TestNoRoomMakesUnsure: what is not noted for want of room is said.
func TestNoRoomMakesUnsure(t *testing.T) {
	var full error
	h := newHouse(t, Options{Room: func() error { return full }})
	st := h.stream("billing", false)
	full = errors.New("low")
	st.Handled(origin, 1)
	h.end(st, origin, 2, Dead)
	if all := h.known(); all[0].UnsureAt.IsZero() || len(all[0].Origins) != 0 {
		t.Errorf("told %+v", all)
	}
	full = nil
	h.end(st, origin, 3, Handled)
	h.reopen()
	if all := h.known(); all[0].UnsureAt.IsZero() || all[0].Origins[0].Handled != 1 {
		t.Errorf("told %+v", all)
	}
}

// TestNoRoomMakesUnsureForGood: also where the process is killed before there is room, and
// another note.
func TestNoRoomMakesUnsureForGood(t *testing.T) {
	for name, note := range map[string]func(h *house, st *Stream){
		"handled": func(_ *house, st *Stream) { st.Handled(origin, 1) },
		"dead":    func(h *house, st *Stream) { h.end(st, origin, 1, Dead) },
	} {
		t.Run(name, func(t *testing.T) {
			var full error
			h := newHouse(t, Options{Room: func() error { return full }})
			st := h.stream("billing", false)
			full = errors.New("low")
			note(h, st)
			before := h.known()[0].UnsureAt
			h.crash()
			if now := h.known()[0].UnsureAt; now.IsZero() || now.UnixMilli() < before.UnixMilli() {
				t.Errorf("unsure since %v, and after a crash since %v", before, now)
			}
		})
	}
}

func ring(t *testing.T, digits ...string) *keyring.Ring {
	t.Helper()
	text := ""
	for _, d := range digits {
		text += string(bytes.Repeat([]byte(d), 64)) + "\n"
	}
	r, err := keyring.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestNamesAreEncrypted: with a key no entry has a name, another key takes over, and
// without it the notes begin anew.
func TestNamesAreEncrypted(t *testing.T) {
	h := newHouse(t, Options{Keys: ring(t, "a")})
	h.end(h.stream("billing", true), origin, 1, Handled)
	wantNoNames(t, h.db)
	h.o.Keys = ring(t, "b", "a")
	h.reopen()
	h.stream("billing", true)
	h.o.Keys = ring(t, "b")
	h.reopen()
	if all := h.known(); len(all) != 1 || all[0].Group != "billing" || all[0].Origins[0].Handled != 1 {
		t.Errorf("with the second key: %+v", all)
	}
	h.o.Keys = ring(t, "c")
	h.reopen()
	h.end(h.stream("billing", true), origin, 2, Handled)
	if all := h.known(); len(all) != 1 || all[0].Origins[0].Handled != 1 {
		t.Errorf("with a key that it does not lie under: %+v", all)
	}
}

func wantNoNames(t *testing.T, db *kv.DB) {
	t.Helper()
	n := 0
	err := db.Scan(kv.Scan{Prefix: []byte("h/")}, func(k, v []byte) (bool, error) {
		n++
		for _, name := range []string{"billing", "orders"} {
			if bytes.Contains(k, []byte(name)) || bytes.Contains(v, []byte(name)) {
				t.Errorf("%q is in %q", name, k)
			}
		}
		return true, nil
	})
	if err != nil || n < 3 {
		t.Errorf("%d entries, %v", n, err)
	}
}

// TestMemoryIsBounded: notes over many blocks keep few of them in memory, and lose
// nothing.
func TestMemoryIsBounded(t *testing.T) {
	h := newHouse(t, Options{})
	st := h.stream("billing", false)
	for b := range uint64(2 * maxCached) {
		st.Handled(origin, b*perBlock+1)
	}
	if got, _ := h.numbers("billing", origin); len(got) != 2*maxCached {
		t.Errorf("%d of %d notes", len(got), 2*maxCached)
	}
	h.end(st, origin, 1, Repeated)
	if n := len(h.store.cache); n > maxCached+1 { // the committer is idle
		t.Errorf("%d blocks in memory", n)
	}
}

// FuzzDecodeBlock: what is read is what was written, and nothing else is read.
func FuzzDecodeBlock(f *testing.F) {
	full := &block{repeats: 3}
	for i := range full.handled {
		full.handled[i] = ^uint64(0)
	}
	some := &block{}
	some.note(1, Handled)
	some.note(2, Dead)
	for _, b := range []*block{full, some, {}} {
		v := b.encode()
		f.Add(v[:len(v)-4])
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		b, err := decodeBlock(seal(bytes.Clone(v)))
		if err != nil {
			return
		}
		again, err := decodeBlock(b.encode())
		if err != nil || *again != *b {
			t.Fatalf("%x: %+v, then %+v, %v", v, b, again, err)
		}
	})
}

func TestSizesAreDeclared(t *testing.T) {
	b := &block{repeats: 1 << 63}
	b.handled.set(0)
	b.dead.set(1)
	if n := len(b.encode()); n > maxBlock {
		t.Errorf("a block has %d bytes, declared are %d", n, maxBlock)
	}
	st := &Stream{group: string(bytes.Repeat([]byte("g"), 100)), topic: string(bytes.Repeat([]byte("t"), 255)), unsure: time.Now()}
	if n := len(st.encode(ring(t, "a"))); n > maxMeta {
		t.Errorf("a stream has %d bytes, declared are %d", n, maxMeta)
	}
	h := newHouse(t, Options{})
	if _, err := h.store.Stream(t.Context(), fmt.Sprintf("%0256d", 1), st.topic, false); err == nil {
		t.Error("names of any length are taken")
	}
}
