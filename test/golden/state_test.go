package golden

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// state is all that can be asked of a directory.
type state struct {
	Balanced   bool                         `json:"balanced"`
	Ledger     spool.Ledger                 `json:"ledger"`
	Held       []spool.Item                 `json:"held"`
	Receipts   []message.Receipt            `json:"receipts"`  // of a repeat under each dedupe key
	Cancelled  []string                     `json:"cancelled"` // topics whose fifth key is refused as settled
	Exceptions map[string][]spool.Exception `json:"exceptions"`
	Marks      map[string]string            `json:"marks"` // verdicts

	Transactions []spool.Transaction `json:"transactions"`

	Paused map[string]time.Time `json:"paused"`
}

func (h *house) state() []byte {
	h.t.Helper()
	ctx := h.t.Context()
	audit, err := h.spool.Audit(ctx)
	h.must(err)
	s := state{Balanced: audit.Balanced, Ledger: h.spool.Ledger(), Exceptions: map[string][]spool.Exception{}, Marks: map[string]string{}, Transactions: h.transactions(), Paused: h.paused()}
	for cursor := ""; ; {
		page, err := h.spool.List(ctx, spool.Query{Content: true, Cursor: cursor})
		h.must(err)
		s.Held = append(s.Held, page.Items...)
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for _, item := range s.Held {
		if len(item.Message.Body) > 100 {
			item.Message.Body = fmt.Appendf(nil, "%d bytes, SHA-256 %x", len(item.Message.Body), sha256.Sum256(item.Message.Body))
		}
	}
	slices.SortFunc(s.Held, func(a, b spool.Item) int { return int(a.Message.Seq) - int(b.Message.Seq) })
	for _, topic := range topics {
		for n := range perTopic {
			receipts, err := h.spool.Append(ctx, []spool.Draft{draft(topic, n+1)})
			if errors.Is(err, spool.ErrKeySettled) && n == 4 {
				s.Cancelled = append(s.Cancelled, topic)
				continue
			}
			h.must(err)
			s.Receipts = append(s.Receipts, receipts...)
		}
		found, err := h.spool.Exceptions(ctx, topic, "", 100)
		h.must(err)
		s.Exceptions[topic] = found.Items
	}
	for _, name := range []string{"done", "begun", "never"} {
		m, err := h.marks.Begin(ctx, mark(name), effect, time.Hour)
		h.must(err)
		s.Marks[name] = m.Verdict.String()
	}
	b, err := json.MarshalIndent(s, "", "  ")
	h.must(err)
	return append(b, '\n')
}

// lacking names what was noted and is not, or is otherwise. What a later version
// says besides is none of it.
func lacking(t *testing.T, noted, found []byte) []string {
	t.Helper()
	var want, got any
	if err := errors.Join(json.Unmarshal(noted, &want), json.Unmarshal(found, &got)); err != nil {
		t.Fatal(err)
	}
	return compare("", want, got)
}

func compare(path string, want, got any) (lack []string) {
	switch want := want.(type) {
	case map[string]any:
		got, _ := got.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(want)) {
			lack = append(lack, compare(path+"."+name, want[name], got[name])...)
		}
	case []any:
		got, _ := got.([]any)
		if len(got) != len(want) {
			return []string{fmt.Sprintf("%s: %d items, %d were noted", path, len(got), len(want))}
		}
		for i := range want {
			lack = append(lack, compare(fmt.Sprintf("%s[%d]", path, i), want[i], got[i])...)
		}
	default:
		if want != got {
			lack = []string{fmt.Sprintf("%s: %v, %v was noted", path, got, want)}
		}
	}
	return lack
}
