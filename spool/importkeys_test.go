package spool_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// repeats sends a draft again, and fails unless the receipt is of that ID and state.
func (r *rig) repeats(d spool.Draft, id message.ID, state message.State) {
	r.t.Helper()
	got := r.accept(d)[0]
	if got.ID != id || got.State != state || !got.Duplicate {
		r.t.Errorf("a repeat of %q: %s, %s, duplicate %v; want %s, %s", d.DedupeKey, got.ID, got.State, got.Duplicate, id, state)
	}
}

func (r *rig) refusesKey(d spool.Draft, want error) {
	r.t.Helper()
	if got, err := r.Append(context.Background(), []spool.Draft{d}); !errors.Is(err, want) {
		r.t.Errorf("a repeat of %q: %+v, %v; want %v", d.DedupeKey, got, want, err)
	}
}

func (r *rig) cancelled(id message.ID) {
	r.t.Helper()
	if _, err := r.Cancel(context.Background(), id); err != nil {
		r.t.Fatal(err)
	}
}

// without is an export without the lines that have a text.
func without(export []byte, text string) []byte {
	lines := strings.SplitAfter(string(export), "\n")
	lines = slices.DeleteFunc(lines[:len(lines)-2], func(l string) bool { return strings.Contains(l, text) })
	return whole(lines)
}

// whole ends the lines of an export with a trailer.
func whole(lines []string) []byte {
	text := strings.Join(lines, "")
	return fmt.Appendf(nil, "%s{\"messages\":%d,\"sha256\":\"%x\"}\n", text, len(lines)-1, sha256.Sum256([]byte(text)))
}

// asFormat1 is an export of messages as format 1 had it.
func asFormat1(export []byte) []byte {
	lines := strings.SplitAfter(string(export), "\n")
	lines = slices.DeleteFunc(lines[:len(lines)-2], func(l string) bool { return strings.Contains(l, `,"key":`) })
	lines[0] = strings.Replace(lines[0], `"remora_export":3`, `"remora_export":1`, 1)
	added := regexp.MustCompile(`"origin":"[^"]*",|"idempotency":{[^}]*},`)
	for i, l := range lines[1:] {
		lines[i+1] = added.ReplaceAllString(l, "")
	}
	return whole(resealed(lines))
}

// resealed gives the messages of an export their checksums anew.
func resealed(lines []string) []string {
	for i, l := range lines[1:] {
		const at = len(`{"crc32c":"00000000","message":`)
		raw := strings.TrimSuffix(l[at:], "}\n")
		lines[i+1] = fmt.Sprintf(`{"crc32c":"%08x","message":%s}`+"\n", crc32.Checksum([]byte(raw), crc32.MakeTable(crc32.Castagnoli)), raw)
	}
	return lines
}

// A client whose message was accepted elsewhere, and who repeats it here after
// the import, makes no second message: whether the first one is held, on hold,
// dead, confirmed or cancelled, in a plain spool or in an encrypted one, and
// through kills and a further move.
func TestRepeatAfterAnImportMakesNoSecondMessage(t *testing.T) {
	for _, keys := range [][2]spool.Options{
		{{}, {}},
		{{Keys: ring(1)}, {}},
		{{Keys: ring(1)}, {Keys: ring(2)}},
	} {
		t.Run(fmt.Sprintf("encrypted %v", keys[0].Keys != nil), func(t *testing.T) {
			from := newRig(t, keys[0])
			drafts := map[string]spool.Draft{}
			ids := map[string]message.ID{}
			for _, name := range []string{"confirmed", "dead", "cancelled", "held", "pending", "apart"} {
				body := name
				if name == "apart" {
					body = strings.Repeat("x", 100<<10)
				}
				drafts[name] = under("key of "+name, draft("t", body))
				ids[name] = from.accept(drafts[name])[0].ID
			}
			from.accept(draft("t", "without a key"))
			leases := from.lease("t", 2)
			from.confirm(leases[:1])
			from.bury(leases[1])
			from.cancelled(ids["cancelled"])
			from.putOnHold(ids["held"])
			from.Flush()
			export := from.export(spool.Query{})
			for move := range 2 {
				to := newRig(t, keys[1])
				if done := to.take(export); !reflect.DeepEqual(done, spool.Imported{Messages: 5, Keys: 2}) {
					t.Fatalf("%+v", done)
				}
				for range 2 {
					to.repeats(drafts["confirmed"], ids["confirmed"], message.StateConfirmed)
					to.repeats(drafts["dead"], ids["dead"], message.StateDead)
					to.repeats(drafts["held"], ids["held"], message.StatePending)
					to.repeats(drafts["pending"], ids["pending"], message.StatePending)
					to.repeats(drafts["apart"], ids["apart"], message.StatePending)
					to.refusesKey(drafts["cancelled"], spool.ErrKeySettled)
					to.refusesKey(under("key of confirmed", draft("t", "other content")), spool.ErrKeyReused)
					to.refusesKey(under("key of pending", draft("t", "other content")), spool.ErrKeyReused)
					if done := to.take(export); !reflect.DeepEqual(done, spool.Imported{Known: 5}) {
						t.Fatalf("again: %+v", done)
					}
					if n := to.balanced().Held; n != 5 {
						t.Errorf("move %d: %d messages are held, want 5", move, n)
					}
					to.kill()
				}
				export = to.export(spool.Query{})
			}
		})
	}
}

// The repeat came first: it is the message, and the import adds none to it.
func TestImportAfterARepeatTakesInNoSecondMessage(t *testing.T) {
	from := newRig(t, spool.Options{})
	same, other, gone := under("k1", draft("t", "same")), under("k2", draft("t", "other")), under("k3", draft("t", "gone"))
	from.accept(same, other, gone)
	export := from.export(spool.Query{})
	to := newRig(t, spool.Options{})
	mine := to.accept(same, under("k2", draft("t", "with other content")), gone)
	to.cancelled(mine[2].ID)
	if done := to.take(export); !reflect.DeepEqual(done, spool.Imported{Messages: 2, Known: 1, Conflicts: 2}) {
		t.Fatalf("%+v", done)
	}
	to.repeats(same, mine[0].ID, message.StatePending)
	to.refusesKey(other, spool.ErrKeyReused)
	to.refusesKey(gone, spool.ErrKeySettled)
	to.kill()
	if got := bodies(to.lease("t", 0)); fmt.Sprint(got) != "[same with other content other gone]" {
		t.Errorf("forwarded %v", got)
	}
	if done := to.take(export); !reflect.DeepEqual(done, spool.Imported{Known: 3}) {
		t.Errorf("again: %+v", done)
	}
	to.balanced()
}

// With its key a message is known when its receipt is gone.
func TestImportKnowsAMessageWithoutReceiptByItsKey(t *testing.T) {
	c := newClock()
	from := newRig(t, spool.Options{Now: c.now})
	first := from.accept(under("k", draft("t", "x")))[0]
	export := from.export(spool.Query{})
	c.advance(time.Hour)
	to := newRig(t, spool.Options{Now: c.now, ReceiptsKeep: 1})
	to.take(export)
	to.confirm(to.lease("t", 0))
	to.Flush()
	c.advance(time.Hour)
	if to.expire(); len(to.find("sr")) != 0 {
		t.Fatal("its receipt stays")
	}
	if done := to.take(export); !reflect.DeepEqual(done, spool.Imported{Known: 1}) {
		t.Errorf("%+v", done)
	}
	if r := to.accept(under("k", draft("t", "x")))[0]; r.ID != first.ID || r.AcceptedAt.UnixMilli() != first.AcceptedAt.UnixMilli() {
		t.Errorf("a repeat gets %+v, want %+v", r, first)
	}
}

// A file of format 1, or with a filter, brought messages without some keys; a
// whole one brings them.
func TestKeysComeToKnownMessages(t *testing.T) {
	from := newRig(t, spool.Options{})
	held, settled, cancelled := under("k1", draft("t", "held")), under("k2", draft("t", "settled")), under("k3", draft("t", "cancelled"))
	all := from.accept(settled, held, cancelled)
	before := from.export(spool.Query{})
	from.confirm(from.lease("t", 1))
	from.cancelled(all[2].ID)
	after := from.export(spool.Query{})
	to := newRig(t, spool.Options{})
	if done := to.take(asFormat1(before)); !reflect.DeepEqual(done, spool.Imported{Messages: 3}) {
		t.Fatalf("%+v", done)
	}
	if done := to.take(after); !reflect.DeepEqual(done, spool.Imported{Known: 1, Keys: 3}) {
		t.Fatalf("%+v", done)
	}
	to.repeats(held, all[1].ID, message.StatePending)
	to.repeats(settled, all[0].ID, message.StateConfirmed)
	to.refusesKey(cancelled, spool.ErrKeySettled)
	to.balanced()
}

// Keys that came with an import leave with the window of the spool that they come
// from. To make room for others they go 15 minutes after they came.
func TestImportedKeysGoWithTheirWindow(t *testing.T) {
	c := newClock()
	from := newRig(t, spool.Options{Now: c.now})
	from.accept(under("old", draft("t", "x")))
	from.confirm(from.lease("t", 0))
	c.advance(24*time.Hour + 51*time.Minute)
	from.accept(under("young", draft("t", "x")))
	from.confirm(from.lease("t", 0))
	from.Flush()
	export := from.export(spool.Query{})
	to := newRig(t, spool.Options{Now: c.now, DedupeLimit: 1})
	if done := to.take(export); !reflect.DeepEqual(done, spool.Imported{Keys: 2}) {
		t.Fatalf("%+v", done)
	}
	for _, want := range []int{2, 1, 0} { // at once; when the hour of the first is out of the window; after the grace
		if to.expire(); to.Known().DedupeKeys != want {
			t.Errorf("%d keys are left at %s, want %d", to.Known().DedupeKeys, c.now().UTC(), want)
		}
		to.kill()
		c.advance(10 * time.Minute)
	}
	if to.accept(under("old", draft("t", "x")))[0].Duplicate {
		t.Error("a key that is gone is known")
	}
}

// What is accepted while an export is written is not in it: its key might not be.
func TestExportHasWhatWasHeldWhenItBegan(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(repeat(150, draft("t", strings.Repeat("x", 4<<10)))...)
	w := &meanwhile{do: func() { r.accept(under("k", draft("t", "late")), under("l", draft("u", "late"))) }}
	done, err := r.Export(t.Context(), w, spool.Query{})
	if err != nil || done.Messages != 150 || done.Keys != 0 {
		t.Errorf("%+v, %v", done, err)
	}
}

// meanwhile does something when the first bytes are written.
type meanwhile struct{ do func() }

func (m *meanwhile) Write(b []byte) (int, error) {
	if m.do != nil {
		m.do()
	}
	m.do = nil
	return len(b), nil
}

// The number that an imported message has where it comes from goes along with its
// ID, through kills and a further move, and is none of those given here.
func TestImportedMessagesKeepTheirNumbers(t *testing.T) {
	from := newRig(t, spool.Options{})
	from.accept(draft("t", "1"), draft("t", "2"), draft("t", large('3')), draft("t", "4"), draft("t", "5"))
	first := from.lease("t", 4)
	from.bury(first[3])
	from.confirm(first[:1])
	from.Flush()
	export, origin := from.export(spool.Query{}), from.ID()
	for range 2 {
		to := newRig(t, spool.Options{})
		to.accept(draft("t", "own"))
		to.take(export)
		export = without(to.export(spool.Query{}), `"topic_sequence":1,`)
		to.kill()
		to.balanced()
		leases := to.lease("t", 0)
		got := ""
		for _, l := range leases {
			got += fmt.Sprintf("%.3s %d %v, ", l.Body, l.TopicSeq, l.ID.Spool() == origin)
		}
		if got != "own 1 false, 2 2 true, 3.. 3 true, 5 5 true, " {
			t.Errorf("forwarded %s", got)
		}
		to.bury(leases[3])
		to.kill()
		to.balanced()
		var dead []uint64
		for _, e := range to.exceptions("t", 10) {
			dead = append(dead, e.TopicSeq)
		}
		if slices.Sort(dead); fmt.Sprint(dead) != "[4 5]" {
			t.Errorf("dead letters have the numbers %v", dead)
		}
		// Counters that are made anew from what can be read count none of them.
		to.accept(draft("t", "own"))
		to.doubted()
		to.kill()
		to.balanced()
		to.accept(draft("t", "own"))
		all := to.leaseAll("t")
		if got := numbers(all[len(all)-2:]); fmt.Sprint(got) != "[1 2]" || all[len(all)-2].ID.Spool() != to.ID() {
			t.Errorf("new messages have the numbers %v", got)
		}
	}
}
