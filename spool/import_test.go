package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func (r *rig) export(q spool.Query) []byte {
	r.t.Helper()
	var b bytes.Buffer
	if _, err := r.Export(context.Background(), &b, q); err != nil {
		r.t.Fatal(err)
	}
	if c, err := spool.CheckExport(bytes.NewReader(b.Bytes())); err != nil || c.AllBad > 0 {
		r.t.Fatalf("%+v, %v", c, err)
	}
	return b.Bytes()
}

func (r *rig) take(export []byte) spool.Imported {
	r.t.Helper()
	done, err := r.Import(context.Background(), bytes.NewReader(export), false)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

// same compares all that an export has to keep.
func same(t *testing.T, got, want []spool.Item) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	byID := map[message.ID]spool.Item{}
	for _, i := range got {
		byID[i.ID] = i
	}
	for _, w := range want {
		g, state := byID[w.ID], w.State
		if state.Volatile() {
			state = message.StatePending
		}
		gm, wm := *g.Message, *w.Message
		gm.Seq, gm.TopicSeq, wm.Seq, wm.TopicSeq = 0, 0, 0, 0
		if g.State != state || g.OnHold != w.OnHold || g.Size != w.Size || g.Reason != w.Reason || fmt.Sprintf("%+v", gm) != fmt.Sprintf("%+v", wm) {
			t.Errorf("%s: %.200s, want %.200s", w.ID, fmt.Sprintf("%+v", g), fmt.Sprintf("%+v", w))
		}
		if w.State == message.StateDead && fmt.Sprint(g.History, g.Attempts, g.LastError) != fmt.Sprint(w.History, w.Attempts, w.LastError) {
			t.Errorf("dead letter: %v, want %v", g.History, w.History)
		}
	}
}

// Everything that is held comes over under its old ID, in its order, and is
// found, forwarded and settled like any other, through kills.
func TestImportTakesInWhatWasExported(t *testing.T) {
	from, _ := every(t, spool.Options{})
	full := keyed("u", "full", "k")
	full.Tag, full.Keys, full.ContentType, full.ContentEncoding = "tag", []string{"a", "b"}, "text/plain", "gzip"
	full.TraceParent, full.TraceState = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b"
	full.Properties = []message.Property{{Name: "A", Value: "ü"}, {Name: "b", Value: "2"}}
	full.Body = []byte{0, 1, 0xff}
	from.accept(full)
	want, _ := from.list(spool.Query{Content: true})
	export := from.export(spool.Query{})

	to := newRig(t, spool.Options{})
	own := to.accept(draft("t", "own"))[0]
	before := to.ID()
	if done := to.take(export); !reflect.DeepEqual(done, spool.Imported{Messages: len(want)}) {
		t.Fatalf("%+v", done)
	}
	if to.ID() == before {
		t.Error("new messages keep the spool ID")
	}
	for _, killed := range []bool{false, true} {
		if killed {
			to.kill()
		}
		got, _ := to.list(spool.Query{Content: true})
		same(t, got[1:], want)
		for _, w := range want {
			if r, err := to.Receipt(t.Context(), w.ID); err != nil || r.ID != w.ID || r.AcceptedAt.UnixMilli() != w.AcceptedAt.UnixMilli() {
				t.Errorf("receipt of %s: %+v (%v)", w.ID, r, err)
			}
		}
		to.balanced()
		if done := to.take(export); !reflect.DeepEqual(done, spool.Imported{Known: len(want)}) {
			t.Errorf("again: %+v", done)
		}
	}
	if got := bodies(to.lease("t", 0)); fmt.Sprint(got) != "[own retry fly wait]" {
		t.Errorf("forwarded %v", got)
	}
	leases := to.lease("u", 0)
	if leases[0].ID != want[1].ID || string(leases[0].Body) != "u1" {
		t.Errorf("leased %s %q", leases[0].ID, leases[0].Body)
	}
	if _, err := to.Cancel(t.Context(), leases[0].ID); !errors.Is(err, spool.ErrAlreadySent) {
		t.Error(err)
	}
	to.confirm(leases)
	to.committed()
	if r, err := to.Receipt(t.Context(), leases[0].ID); err != nil || r.State != message.StateConfirmed || r.ID != leases[0].ID {
		t.Errorf("confirmed: %+v (%v)", r, err)
	}
	to.releaseHeld(want[6].ID)
	to.kill()
	to.balanced()
	if r, err := to.Receipt(t.Context(), own.ID); err != nil || r.ID != own.ID {
		t.Errorf("its own message: %+v (%v)", r, err)
	}
}

// An attempt may have been made where the export comes from.
func TestCancelOfAnImportedMessageIsRefused(t *testing.T) {
	from := newRig(t, spool.Options{})
	id := from.accept(draft("t", "x"))[0].ID
	to := newRig(t, spool.Options{})
	to.take(from.export(spool.Query{}))
	for range 2 {
		if _, err := to.Cancel(t.Context(), id); !errors.Is(err, spool.ErrMaybeSent) {
			t.Error(err)
		}
		to.kill()
	}
	later := to.accept(draft("t", "later"))[0].ID
	if _, err := to.Cancel(t.Context(), later); err != nil {
		t.Error(err)
	}
}

// The receipt of an imported message goes with all others, and so does the place
// where its ID is found.
func TestImportedIDsGoWithTheirReceipts(t *testing.T) {
	c := newClock()
	from := newRig(t, spool.Options{Now: c.now})
	id := from.accept(draft("t", "x"))[0].ID
	to := newRig(t, spool.Options{Now: c.now, ReceiptsKeep: 1})
	to.take(from.export(spool.Query{}))
	to.confirm(to.lease("t", 0))
	to.reopen()
	if !to.known(id) || len(to.find("sf")) != 1 {
		t.Fatal("gone too early")
	}
	c.advance(keep)
	if to.expire(); to.known(id) || len(to.find("sf")) != 0 {
		t.Fatal("it stays")
	}
}

const keep = 1 << 40

// A file that is damaged anywhere is refused with its line, and nothing behind
// that line is taken in; with partial, all else is.
func TestImportRefusesDamagedLines(t *testing.T) {
	from := newRig(t, spool.Options{})
	from.accept(draft("t", "one"), draft("t", "two"), draft("t", "three"))
	good := string(from.export(spool.Query{}))
	lines := strings.SplitAfter(good, "\n")
	sealed := func(lines ...string) string { return string(whole(lines)) } // as if it had been written so
	tests := []struct {
		name, file, says string
		before, partial  int // messages taken in without and with partial; -1: refused also then
	}{
		{"nothing", "", "line 1: not what an export has: the header is missing", 0, -1},
		{"no export", "{\"a\":1}\n", "line 1", 0, -1},
		{"newer", `{"remora_export":7,"what":"nobody knows"}` + "\n" + good, "line 1: not what an export has: format 7 is newer than 6", 0, -1},
		{"a body is changed", strings.Replace(good, "dHdv", "dHdw", 1), "line 3: not what an export has: its crc32c", 1, 2},
		{"a line is cut", strings.Replace(good, lines[2], lines[2][:30]+"\n", 1), "line 3", 1, 2},
		{"a line is missing", lines[0] + lines[1] + lines[3] + lines[4], "line 4: not what an export has: the sha256", 2, 2},
		{"a line is twice", lines[0] + lines[1] + lines[1] + lines[2] + lines[3] + lines[4], "line 6: not what an export has: the sha256", 3, 3},
		{"no trailer", strings.Join(lines[:4], ""), "the trailer is missing; the file is cut", 3, 3},
		{"cut within a line", strings.Join(lines[:3], "") + lines[3][:40], "line 4: not what an export has: the line has no end", 2, 2},
		{"another count", strings.Replace(good, `{"messages":3`, `{"messages":4`, 1), "3 messages, transactions and keys were read, the trailer has another number", 3, 3},
		{"something behind", good + "x", "something follows the trailer", 3, 3},
		{"an empty line", sealed(lines[0], lines[1], "\n", lines[2]), "line 3", 1, 2},
		{"a very long line", sealed(lines[0], lines[1], strings.Repeat("x", 41<<20)+"\n", lines[2]), "line 3: not what an export has: the line is longer", 1, 2},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			to := newRig(t, spool.Options{})
			done, err := to.Import(t.Context(), strings.NewReader(tc.file), false)
			if !errors.Is(err, spool.ErrExport) || !strings.Contains(err.Error(), tc.says) || done.Messages != tc.before {
				t.Errorf("%+v, %v; want %d and %q", done, err, tc.before, tc.says)
			}
			done, err = to.Import(t.Context(), strings.NewReader(tc.file), true)
			if refused := tc.partial < 0; refused != (err != nil) || !refused && (done.Messages+done.Known < tc.partial || done.Refused == 0) {
				t.Errorf("partial: %+v, %v", done, err)
			}
			if a := to.balanced(); tc.partial >= 0 && a.Held != uint64(tc.partial) {
				t.Errorf("%d messages are held, want %d", a.Held, tc.partial)
			}
			if c, err := spool.CheckExport(strings.NewReader(tc.file)); c.AllBad == 0 && err == nil {
				t.Error("a check finds nothing")
			}
		})
	}
	if c, err := spool.CheckExport(strings.NewReader(good)); c.Messages != 3 || c.AllBad != 0 || err != nil {
		t.Errorf("a good file: %+v, %v", c, err)
	}
}

// A full spool takes in what it has room for, and the rest when there is more.
func TestImportStopsAtTheLimitAndGoesOn(t *testing.T) {
	from := newRig(t, spool.Options{})
	from.accept(repeat(500, draft("t", "x"))...)
	export := from.export(spool.Query{})
	to := newRig(t, spool.Options{Limit: 600})
	done, err := to.Import(t.Context(), bytes.NewReader(export), false)
	if !errors.Is(err, spool.ErrFull) || done.Messages != 300 {
		t.Fatalf("%+v, %v", done, err)
	}
	to.balanced()
	to.opts.Limit = 0
	to.kill()
	if done := to.take(export); !reflect.DeepEqual(done, spool.Imported{Messages: 200, Known: 300}) {
		t.Fatalf("%+v", done)
	}
	to.balanced()
}

func TestImportKeepsTheLimitOfTopics(t *testing.T) {
	from := newRig(t, spool.Options{})
	from.accept(draft("a", "1"), draft("b", large('2')))
	to := newRig(t, spool.Options{MaxTopics: 1})
	if done, err := to.Import(t.Context(), bytes.NewReader(from.export(spool.Query{})), false); !errors.Is(err, spool.ErrTooManyTopics) || done.Messages != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	to.balanced()
	if n := len(to.find("sc")); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
}

func FuzzImport(f *testing.F) {
	const at = `"2026-01-02T03:04:05Z"`
	for _, version := range []int{1, 2} {
		good := fmt.Sprintf(`{"remora_export":%d,"spool":"0000000000","created_at":%s}`+"\n", version, at)
		f.Add([]byte(good))
		f.Add([]byte(good + `{"crc32c":"00000000","message":{"id":"00000000000000000000000000000001","topic":"t","state":"pending","accepted_at":` + at + `,"body_base64":"eA=="}}` + "\n"))
		f.Add([]byte(good + `{"crc32c":"00000000","key":{"hash":"00000000000000000000000000000001","fingerprint":"0000000000000001","id":"00000000000000000000000000000001","state":"confirmed","accepted_at":` + at + `,"since":` + at + `}}` + "\n"))
		f.Add([]byte(good + `{"messages":0,"keys":0,"sha256":"x"}` + "\n"))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := spool.CheckExport(bytes.NewReader(file))
		if c.Messages+c.Keys > bytes.Count(file, []byte("\n")) || len(c.Bad) > c.AllBad || err == nil && c.AllBad == 0 && !bytes.Contains(file, []byte(`{"messages":`)) {
			t.Fatalf("%+v, %v", c, err)
		}
		if c.Version == 1 && c.Keys > 0 {
			t.Fatal("format 1 has keys")
		}
	})
}

// Whatever a line decodes to is written and read again the same.
func FuzzImportLine(f *testing.F) {
	f.Add([]byte(`{"id":"00000000000000000000000000000001","topic":"t","state":"pending","held":true,"accepted_at":"2026-01-02T03:04:05.678Z","origin":"0000000000","topic_sequence":7,"idempotency":{"hash":"000102030405060708090a0b0c0d0e0f","fingerprint":"0001020304050607"},"tag":"a","keys":["k"],"ordering_key":"o","properties":[{"name":"b","value":"1"},{"name":"a","value":"2"}],"body_base64":"eA=="}`))
	f.Add([]byte(`{"id":"00000000000000000000000000000001","topic":"t","state":"dead","accepted_at":"2026-01-02T03:04:05Z","origin":"0000000000","body_base64":"eA==","reason":"r","last_error":"e","attempts":3,"history":[{"at":"2026-01-02T03:04:05Z","event":"attempt","outcome":"permanent"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) { rewrite(t, "message", raw) })
}

func FuzzImportKey(f *testing.F) {
	f.Add([]byte(`{"hash":"000102030405060708090a0b0c0d0e0f","fingerprint":"0001020304050607","id":"00000000000000000000000000000001","state":"discarded","accepted_at":"2026-01-02T03:04:05.678Z","since":"2026-01-02T03:00:00Z"}`))
	f.Fuzz(func(t *testing.T, raw []byte) { rewrite(t, "key", raw) })
}

func rewrite(t *testing.T, kind string, raw []byte) {
	t.Helper()
	first, again, err := spool.RewriteLine(kind, raw)
	if err == nil && first != again {
		t.Fatalf("%s\n%s", first, again)
	}
}
