package golden

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Exports of each version of their format are kept as they were written, of a
// spool with all that it can hold.
func TestEveryVersionOfAnExportIsImported(t *testing.T) {
	h := open(t, t.TempDir(), nil)
	defer h.close()
	h.fill()
	h.exported(3)
	h.prepare()
	h.exported(5)
	h.handOver()
	h.must(h.spool.Bury(t.Context(), h.lease(ofTimer, 1)[0], "REFUSED", "no"))
	h.exported(6)
	all, err := filepath.Glob("testdata/export-*.ndjson")
	h.must(err)
	for _, path := range all {
		t.Run(filepath.Base(path), func(t *testing.T) { imported(t, path) })
	}
}

// exported writes an export of what is there now, which is of a version, and compares
// its form with the one that is kept.
func (h *house) exported(is int) {
	h.t.Helper()
	var now bytes.Buffer
	_, err := h.spool.Export(h.t.Context(), &now, spool.Query{})
	h.must(err)
	current := fmt.Sprintf("testdata/export-%d.ndjson", version(h.t, now.Bytes()))
	if _, err := os.Stat(current); *update && err != nil {
		h.must(os.WriteFile(current, now.Bytes(), 0o600))
	}
	kept, err := os.ReadFile(current)
	if err != nil || version(h.t, kept) != is || fmt.Sprint(names(h.t, kept)) != fmt.Sprint(names(h.t, now.Bytes())) {
		h.t.Errorf("what is written is not what %s has (%v). It is another format: raise its version, and write it: go test ./test/golden -update\n%s\n%s", current, err, names(h.t, now.Bytes()), names(h.t, kept))
	}
}

// heldOfTopic is how many messages of each topic fill leaves.
const heldOfTopic = perTopic - 2

// imported takes in a file, and again, and looks at all that it brought.
func imported(t *testing.T, path string) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h := open(t, t.TempDir(), nil)
	defer h.close()
	want := heldOfTopic * len(topics)
	if version(t, file) > 3 {
		want += heldHalf
	}
	if version(t, file) > 5 {
		want += 2 // for the broker's timer: one is a dead letter, one delayed
	}
	if done, err := h.spool.Import(t.Context(), bytes.NewReader(file), false); err != nil || done.Messages != want {
		t.Fatalf("%+v, %v", done, err)
	}
	if done, err := h.spool.Import(t.Context(), bytes.NewReader(file), false); err != nil || !reflect.DeepEqual(done, spool.Imported{Known: want}) {
		t.Errorf("again: %+v, %v", done, err)
	}
	page, err := h.spool.List(t.Context(), spool.Query{Content: true, Limit: 1000})
	h.must(err)
	if len(page.Items) != want {
		t.Errorf("%d messages are held, want %d", len(page.Items), want)
	}
	for _, i := range page.Items {
		h.asFilled(i, version(t, file))
		if !bytes.Contains(file, fmt.Appendf(nil, `"id":"%s"`, i.ID)) {
			t.Errorf("%s has another ID than in the file", i.ID)
		}
	}
	if version(t, file) > 1 {
		h.knowsKeys()
	}
	if a, err := h.spool.Audit(t.Context()); err != nil || !a.Balanced {
		t.Errorf("%+v, %v", a, err)
	}
}

// asFilled compares a message with what fill makes of it: its number tells which
// one it is.
func (h *house) asFilled(got spool.Item, version int) {
	h.t.Helper()
	if got.Topic == ofTransactions {
		if got.State != message.StateUndecided {
			h.t.Errorf("%+v", got.Receipt)
		}
		return
	}
	if got.Topic == ofTimer {
		dead := got.State == message.StateDead
		if at := got.Message.TimerAt(); dead != at.Equal(got.AcceptedAt.Add(time.Minute)) || !dead && !got.DeliverAt.Equal(got.AcceptedAt.Add(100*time.Hour)) {
			h.t.Errorf("%+v is due at %v", got.Receipt, at)
		}
		return
	}
	n := int(got.Message.TopicSeq)
	want := draft(got.Topic, n).Message
	want.ID, want.Seq, want.TopicSeq, want.AcceptedAt = got.ID, got.Message.Seq, got.Message.TopicSeq, day
	if want.TTL > 0 {
		want.ExpiresAt = day.Add(want.TTL).Local()
	}
	if version < 3 {
		want.TTL, want.ExpiresAt = 0, time.Time{}
	}
	if m := *got.Message; fmt.Sprintf("%+v", m) != fmt.Sprintf("%+v", want) || !got.AcceptedAt.Equal(day) {
		h.t.Errorf("%+v, want %+v", m, want)
	}
	dead := n == 2 || n == 3
	if (got.State == message.StateDead) != dead || dead && (got.Reason != "REFUSED" || len(got.History.Events()) != 3) || got.OnHold != (n == 4 || n == 6) {
		h.t.Errorf("message %d: %+v", n, got.Receipt)
	}
}

// knowsKeys repeats each message that was ever accepted.
func (h *house) knowsKeys() {
	h.t.Helper()
	for _, topic := range topics {
		for n := 1; n <= perTopic; n++ {
			receipts, err := h.spool.Append(h.t.Context(), []spool.Draft{draft(topic, n)})
			switch {
			case n == 5 && !errors.Is(err, spool.ErrKeySettled):
				h.t.Errorf("the key of a cancelled message: %+v, %v", receipts, err)
			case n != 5 && (err != nil || !receipts[0].Duplicate):
				h.t.Errorf("a repeat of %d of %s: %+v, %v", n, topic, receipts, err)
			}
		}
	}
}

func version(t *testing.T, export []byte) int {
	t.Helper()
	c, err := spool.CheckExport(bytes.NewReader(export))
	if err != nil || c.AllBad > 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	return c.Version
}

// names are the names that the lines have, to any depth.
func names(t *testing.T, export []byte) []string {
	t.Helper()
	found := map[string]bool{}
	for line := range strings.Lines(string(export)) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		nameAll("", v, found)
	}
	return slices.Sorted(maps.Keys(found))
}

func nameAll(path string, v any, found map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, x := range v {
			found[path+"."+name] = true
			nameAll(path+"."+name, x, found)
		}
	case []any:
		for _, x := range v {
			nameAll(path+"[]", x, found)
		}
	}
}
