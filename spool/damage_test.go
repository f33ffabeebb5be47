package spool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// damaged changes the value of the first entry of a prefix, and says so nowhere.
func (r *rig) damaged(prefix string, do func([]byte)) {
	r.t.Helper()
	e := r.find(prefix)[0]
	do(e.value)
	r.behind(func(tx *kv.Tx) { tx.Set(e.key, e.value) })
}

func flipLast(v []byte) { v[len(v)-1] ^= 1 }

func (r *rig) removed(prefixes ...string) {
	r.t.Helper()
	for _, p := range prefixes {
		for _, e := range r.find(p) {
			r.behind(func(tx *kv.Tx) { tx.Delete(e.key) })
		}
	}
}

// whileClosed changes the database of a closed spool, and opens that again.
func (r *rig) whileClosed(do func()) {
	r.t.Helper()
	r.close()
	var err error
	if r.db, err = kv.Open(context.Background(), r.kv); err != nil {
		r.t.Fatal(err)
	}
	r.intruder = nil
	do()
	if err := r.db.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

// runs writes lost sequences as "2-3 t".
func runs(all []spool.Lost) string {
	var words []string
	for _, l := range all {
		words = append(words, strings.TrimSpace(fmt.Sprintf("%d-%d %s", l.First, l.Last, l.Topic)))
	}
	return strings.Join(words, ", ")
}

// TestDamagedEntryStopsNothing damages or removes each kind of entry of a spool
// in which everything stands once (see booked). It opens, says what was damaged
// and what that costs, loses nothing else, and balances once that is
// acknowledged: after this opening, and after the next.
func TestDamagedEntryStopsNothing(t *testing.T) {
	flip := func(prefix string) func(*rig) { return func(r *rig) { r.damaged(prefix, flipLast) } }
	remove := func(prefixes ...string) func(*rig) { return func(r *rig) { r.removed(prefixes...) } }
	const all = "2 3 6"
	tests := map[string]struct {
		do       func(*rig)
		lost     string // runs
		forwards string // in order; 6 is the large one
		unknown  uint64 // unattributed
		newID    bool
	}{
		"head":                         {do: flip("sh"), forwards: all, newID: true},
		"head gone":                    {do: remove("sh"), forwards: all, newID: true},
		"topic":                        {do: flip("st"), forwards: all, newID: true},
		"topic gone":                   {do: remove("st"), forwards: all, newID: true},
		"topic and its receipts":       {do: func(r *rig) { flip("st")(r); remove("sr")(r) }, forwards: all, unknown: 2, newID: true},
		"bitmap":                       {do: flip("sb"), forwards: all},
		"bitmap gone":                  {do: remove("sb"), forwards: all},
		"bitmap and receipts":          {do: remove("sb", "sr"), forwards: all},
		"block":                        {do: flip("sm"), lost: "3-3 t", forwards: "2 6"},
		"first record of a block":      {do: func(r *rig) { r.damaged("sm", func(v []byte) { v[20] ^= 1 }) }, lost: "2-2 t", forwards: "3 6"},
		"all of a block":               {do: func(r *rig) { r.damaged("sm", func(v []byte) { clear(v) }) }, lost: "2-3 t", forwards: "6"},
		"blocks gone":                  {do: remove("sm"), lost: "2-3 t, 6-6 t", forwards: ""},
		"block and index gone":         {do: remove("sm", "si"), lost: "2-3, 6-6", forwards: ""},
		"index":                        {do: flip("si"), forwards: all},
		"indexes gone":                 {do: remove("si"), forwards: all},
		"place of a payload":           {do: flip("sx"), forwards: all},
		"place of a payload gone":      {do: remove("sx"), forwards: all},
		"part of a payload":            {do: flip("sc"), lost: "6-6 t", forwards: "2 3"},
		"part of a payload gone":       {do: remove("sc"), lost: "6-6 t", forwards: "2 3"},
		"dead letter":                  {do: flip("sd"), lost: "5-5", forwards: all},
		"dead letter gone":             {do: remove("sd"), lost: "5-5", forwards: all},
		"receipts":                     {do: flip("sr"), forwards: all},
		"exceptions":                   {do: flip("so"), forwards: all},
		"exceptions gone":              {do: remove("so"), forwards: all},
		"bitmap, receipts, exceptions": {do: remove("sb", "sr", "so"), forwards: all},
		"idempotency keys":             {do: flip("sk"), forwards: all},
		"index, topic, bitmap, head":   {do: func(r *rig) { flip("si")(r); flip("st")(r); flip("sb")(r); flip("sh")(r) }, forwards: all, newID: true},
		"everything but the note":      {do: remove("sh", "st", "sm", "si", "sb", "sc", "sx", "sd", "sr", "sk", "so"), lost: "1-6", newID: true, unknown: 2},
		"a key that is too short":      {do: strange("sm\x00\x00\x00\x01\x00"), forwards: all},
		"a key of each kind, too long": {do: func(r *rig) { strangeAll(r) }, forwards: all},
		"a block of another topic": {do: func(r *rig) {
			e := r.find("sm")[0]
			to := bytes.Clone(e.key)
			to[5] = 9
			r.behind(func(tx *kv.Tx) { tx.Delete(e.key); tx.Set(to, e.value) })
			r.doubted()
		}, forwards: all},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := booked(t)
			was := r.ID()
			r.whileClosed(func() {
				tc.do(r)
				r.doubtedIf(name)
			})
			state := r.Damage()
			if !state.Pending() || len(state.Reports) != 1 || len(state.Reports[0].Found) == 0 && tc.lost == "" && tc.unknown == 0 {
				t.Fatalf("damage %+v", state)
			}
			d := state.Reports[0]
			if got := runs(d.Sequences); got != tc.lost || d.Unattributed != tc.unknown {
				t.Errorf("lost %d: %s, unattributed %d; found %q", d.Lost, got, d.Unattributed, d.Found)
			}
			if (r.ID() != was) != tc.newID {
				t.Errorf("spool ID changed: %v", r.ID() != was)
			}
			if a, err := r.Audit(t.Context()); err != nil || a.Balanced {
				t.Errorf("balanced %v before it is acknowledged (%v)", a.Balanced, err)
			}
			r.acknowledged(1)
			checkLedger(t, r, d)
			r.reopen()
			if r.Damage().Pending() {
				t.Errorf("after the next opening: %+v", r.Damage())
			}
			checkLedger(t, r, d)
			if tc.forwards != "" {
				if got := r.drain("t"); got != tc.forwards {
					t.Errorf("forwarded %s, want %s", got, tc.forwards)
				}
			}
			r.accept(draft("t", "anew"))
			r.reopen()
			r.balanced()
		})
	}
}

// doubted makes the next opening compare: what happened was done cleanly.
func (r *rig) doubted() { r.behind(func(tx *kv.Tx) { tx.Set([]byte("sl"), []byte{0, 0, 0, 0}) }) }

// doubtedIf does so for what no opening sees by itself, without reading blocks.
func (r *rig) doubtedIf(name string) {
	for _, cheap := range []string{"head", "topic", "bitmap", "idempotency", "place of a payload", "everything", "a key"} {
		if name == cheap || strings.HasPrefix(name, cheap) && name != "place of a payload gone" && name != "bitmap gone" && name != "bitmap and receipts" && !strings.HasPrefix(name, "bitmap, receipts") {
			return
		}
	}
	r.doubted()
}

func strange(key string) func(*rig) {
	return func(r *rig) { r.behind(func(tx *kv.Tx) { tx.Set([]byte(key), []byte("x")) }); r.doubted() }
}

func strangeAll(r *rig) {
	for _, p := range spool.Prefixes() {
		if p != "sh" {
			strange(p + strings.Repeat("x", 30))(r)
		}
	}
}

func (r *rig) acknowledged(n int) {
	r.t.Helper()
	if known, err := r.AcknowledgeDamage(context.Background()); err != nil || len(known) != n {
		r.t.Fatalf("acknowledged %+v, %v", known, err)
	}
}

// checkLedger demands books that balance, and that lose what the report says.
func checkLedger(t *testing.T, r *rig, d spool.Damage) {
	t.Helper()
	a := r.balanced()
	n := a.Ledger.Total
	if n.Accepted != 6 || n.Lost != d.Lost || n.Unattributed != d.Unattributed || fmt.Sprint(r.Ledger().Total) != fmt.Sprint(n) {
		t.Errorf("ledger %+v, in memory %+v", n, r.Ledger().Total)
	}
	if n.Accepted != n.Confirmed+n.Cancelled+n.RolledBack+n.Discarded+n.Lost+n.Unattributed+n.InSpool.Held() {
		t.Errorf("it does not sum up: %+v", n)
	}
}

// drain forwards all of a topic and returns the first bytes of the bodies.
func (r *rig) drain(topic string) string {
	r.t.Helper()
	var got []string
	for r.Ledger().Topics[topic].InSpool.Pending > 0 {
		leases := r.lease(topic, 0)
		for _, l := range leases {
			got = append(got, string(l.Body[:1]))
		}
		r.confirm(leases)
		r.Flush()
	}
	return strings.Join(got, " ")
}

// Damage that a reader meets stops nothing else, and keeps its bytes until the
// next opening has named it and put them aside.
func TestDamagedBlockIsNoticedAndThenNamed(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "0"), draft("t", "1"), draft("t", "2"))
	block := r.find("sm")[0]
	r.accept(draft("other", "x"))
	r.accept(draft("t", "3"))
	r.close()
	r.open()
	block.value[len(block.value)/2] ^= 1
	r.behind(func(tx *kv.Tx) { tx.Set(block.key, block.value) })
	if got := r.drainSome("t", 3); got != "0 2 3" {
		t.Errorf("forwarded %s", got)
	}
	state := r.Damage()
	if len(state.Reports) != 0 || len(state.Seen) != 1 || !strings.Contains(state.Seen[0], "[2] of 1 to 3") {
		t.Errorf("seen %+v", state)
	}
	r.Flush()
	if kept := r.find("sm\x00\x00\x00\x01"); len(kept) != 1 || !bytes.Equal(kept[0].value, block.value) {
		t.Error("the damaged block is gone before it is counted")
	}
	r.reopen()
	d := r.Damage().Reports[0]
	if d.Lost != 1 || runs(d.Sequences) != "2-2 t" || d.Among || len(d.Quarantine) != 1 {
		t.Errorf("%+v", d)
	}
	if got := r.Ledger().Topics["t"]; got.Lost != 1 || got.InSpool.Held() != 0 {
		t.Errorf("%+v", got)
	}
	if !quarantined(t, d.Quarantine[0], block.value) {
		t.Error("its bytes are not in the quarantine")
	}
	r.acknowledged(1)
	r.balanced()
}

// drainSome forwards until n messages have been, and no more can be read.
func (r *rig) drainSome(topic string, n int) string {
	r.t.Helper()
	var got []string
	for len(got) < n {
		leases := r.lease(topic, 0)
		got = append(got, bodies(leases)...)
		r.confirm(leases)
	}
	r.none(topic)
	return strings.Join(got, " ")
}

func quarantined(t *testing.T, path string, value []byte) bool {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(bytes.Split(data, []byte("\n")), func(line []byte) bool {
		var e struct{ Value []byte }
		return json.Unmarshal(line, &e) == nil && bytes.Equal(e.Value, value)
	})
}

// The tail of the log is lost after its messages were forwarded. HEAD knows how
// far the spool had come: they are named, and no sequence or ID is given again.
func TestLostTailIsNamedAndReusesNothing(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "kept"))
	before := r.dbDir() + ".before"
	copyStill(t, r.dbDir(), before)
	lost := r.accept(draft("t", "lost"), draft("t", "lost too"))
	leases := r.lease("t", 0)
	r.confirm(leases[1:2])
	r.Release(leases)
	was, dir := r.ID(), r.dbDir()
	r.close()
	if err := os.Remove(filepath.Join(before, "HEAD")); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(filepath.Join(dir, "HEAD"), filepath.Join(before, "HEAD")); err != nil {
		t.Fatal(err)
	}
	r.life++
	if err := os.Rename(before, r.dbDir()); err != nil {
		t.Fatal(err)
	}
	r.open()
	d := r.Damage().Reports[0]
	if got := runs(d.Sequences); got != "2-3" || d.Lost != 2 || d.Among || // one was confirmed, and nothing says which
		r.db.Damage() == nil || d.Database == "" {
		t.Errorf("lost %s; %+v", got, d)
	}
	anew := r.accept(draft("t", "new"))[0].ID
	for _, old := range lost {
		if anew == old.ID || anew.Seq32() == old.ID.Seq32() {
			t.Errorf("%s after %s", anew, old.ID)
		}
		if got, err := r.Receipt(t.Context(), old.ID); err == nil {
			t.Errorf("a receipt of a lost message: %+v", got)
		}
	}
	if r.ID() == was || anew.Spool() == lost[0].ID.Spool() {
		t.Error("a directory that was rebuilt gives IDs of the old one")
	}
	r.acknowledged(1)
	if r.db.Damage() != nil {
		t.Error("the database's report is not acknowledged")
	}
	r.reopen()
	r.balanced()
	if got := r.drainSome("t", 2); got != "kept new" {
		t.Errorf("forwarded %s", got)
	}
}

// What an operator keeps back stays back, whatever is damaged.
func TestDamagedHoldStillHolds(t *testing.T) {
	for name, prefixes := range map[string][]string{"hold": {"sw"}, "hold and topic": {"sw", "st"}, "all but the hold": {"st", "sh", "sb", "si"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, spool.Options{})
			id := r.accept(draft("t", "on hold"))[0].ID
			r.accept(draft("t", "passes"))
			r.putOnHold(id)
			r.confirm(r.lease("t", 0))
			r.accept(draft("t", "passes too"))
			r.whileClosed(func() {
				for _, p := range prefixes {
					r.damaged(p, flipLast)
				}
			})
			r.acknowledged(1)
			for range 2 {
				if got := r.balanced(); got.Held != 2 || r.Ledger().Total.OnHold != 1 {
					t.Errorf("%+v", r.Ledger())
				}
				r.reopen()
			}
			if got := r.drainSome("t", 1); got != "passes too" {
				t.Errorf("forwarded %s", got)
			}
			r.releaseHeld(id)
			if got := r.drainSome("t", 1); got != "on hold" {
				t.Errorf("forwarded %s", got)
			}
		})
	}
}

// A damaged idempotency key is forgotten, and the window in effect says so.
func TestDamagedKeysAreForgottenAndSaid(t *testing.T) {
	clock := newClock()
	r := newRig(t, spool.Options{Now: clock.now})
	r.accept(under("a", draft("t", "1")))
	r.damaged("sk", flipLast)
	clock.advance(2 * 60 * 60 * 1e9)
	r.accept(under("b", draft("t", "2")))
	r.reopen()
	if w := r.DedupeWindow(); w > 2*60*60*1e9 {
		t.Errorf("the window in effect is %v, a key of two hours ago is lost", w)
	}
	if got := r.accept(under("b", draft("t", "2")))[0]; !got.Duplicate {
		t.Error("the other key is lost, too")
	}
	if n := len(r.find("sk")); n != 1 {
		t.Errorf("%d entries", n)
	}
}

// A report that does not fit into an entry is shortened, not lost.
func TestReportOfManyRunsFits(t *testing.T) {
	d := spool.Damage{Lost: 100_000}
	for i := range uint64(100_000) {
		d.Sequences = append(d.Sequences, spool.Lost{First: 2 * i, Last: 2 * i, Topic: "t"})
	}
	if got, size := spool.Fit(d, 10_000); size > 10_000 || len(got.Sequences) < 50 || !got.Among || got.Lost != 100_000 {
		t.Errorf("%d bytes, %d runs, %+v", size, len(got.Sequences), got.Lost)
	}
}

// A report of an earlier build may be larger than what one commit acknowledges, and
// the number of one may be none that was given.
func TestStrangeReportsAreAcknowledged(t *testing.T) {
	r := newRig(t, spool.Options{})
	d := spool.Damage{Found: []string{strings.Repeat("x", 400<<10)}, Lost: 3}
	r.whileClosed(func() {
		for _, n := range []int{1, 1 << 62} {
			key, value := spool.ReportEntry(n, d)
			r.plant(entry{key, value})
		}
	})
	known, err := r.AcknowledgeDamage(t.Context())
	if err != nil || len(known) == 0 || known[0].Lost != 3 {
		t.Fatalf("%d reports, %v", len(known), err)
	}
	r.reopen()
	if r.Damage().Pending() {
		t.Error("something is left to be acknowledged")
	}
}

// TestOlderEntryOfATopicIsRaised puts the entry of a topic back to what it was
// before messages were accepted and confirmed: the records tell how many.
func TestOlderEntryOfATopicIsRaised(t *testing.T) {
	r := booked(t)
	old := r.find("st")[0]
	r.accept(draft("t", "7"), draft("t", "8"))
	r.whileClosed(func() {
		r.behind(func(tx *kv.Tx) { tx.Set(old.key, old.value) })
		r.doubted()
	})
	if d := r.Damage().Reports; len(d) > 1 || len(d) == 1 && (d[0].Lost > 0 || d[0].Unattributed > 0) {
		t.Fatalf("%+v", d)
	}
	r.acknowledged(len(r.Damage().Reports))
	if n := r.balanced().Ledger.Total; n.Accepted != 8 || n.Confirmed != 1 || n.InSpool.Held() != 6 || n.Unattributed != 0 {
		t.Errorf("%+v", n)
	}
	r.reopen()
	r.balanced()
	if got := r.drain("t"); got != "2 3 6 7 8" {
		t.Errorf("forwarded %s", got)
	}
}
