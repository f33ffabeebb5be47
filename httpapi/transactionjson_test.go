package httpapi

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/transaction"
)

// TestTransactionIsWrittenAsJSONWouldBe compares our writer with encoding/json.
func TestTransactionIsWrittenAsJSONWouldBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9_|%-]{0,20}`), rapid.String())
		at := rapid.Custom(func(t *rapid.T) time.Time {
			return time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).UTC()
		})
		number, ids := rapid.Int(), rapid.SliceOfN(rapid.Byte(), 16, 16)
		v := transactionJSON{
			View: transaction.View{
				ID: text.Draw(t, "id"), State: text.Draw(t, "state"), Mode: text.Draw(t, "mode"), Key: text.Draw(t, "key"),
				PreparedAt: at.Draw(t, "prepared at"), DecidedBy: text.Draw(t, "decided by"), MessageIDs: []message.ID{},
				Check: transaction.CheckView{
					URL: text.Draw(t, "url"), After: text.Draw(t, "after"), Interval: text.Draw(t, "interval"), MaxAttempts: number.Draw(t, "most"),
					OnExhausted: text.Draw(t, "on exhausted"), InVain: number.Draw(t, "in vain"), LastAnswer: text.Draw(t, "last answer"),
				},
			},
			Duplicate: rapid.Bool().Draw(t, "duplicate"), Messages: []receiptJSON{},
		}
		if rapid.Bool().Draw(t, "ended") {
			v.EndedAt = new(at.Draw(t, "ended at"))
		}
		if rapid.Bool().Draw(t, "checked again") {
			v.Check.NextAt = new(at.Draw(t, "next at"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "messages") {
			id := message.ID(ids.Draw(t, "message"))
			v.MessageIDs = append(v.MessageIDs, id)
			v.Messages = append(v.Messages, receiptJSON{ID: id, Topic: text.Draw(t, "topic")})
		}
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.appendJSON(nil); string(got) != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}
