package httpapi

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// transactionJSON is a transaction of the contract.
type transactionJSON struct {
	transaction.View

	Duplicate bool          `json:"duplicate"`
	Messages  []receiptJSON `json:"messages"`
}

// TestTransactionIsWrittenAsJSONWouldBe compares our writer with encoding/json.
func TestTransactionIsWrittenAsJSONWouldBe(t *testing.T) {
	s := &Server{}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9_|%-]{0,20}`), rapid.String())
		at := rapid.Custom(func(t *rapid.T) time.Time {
			zone := time.FixedZone("", rapid.IntRange(-43_200, 43_200).Draw(t, "zone"))
			return time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).In(zone)
		})
		state := rapid.SampledFrom([]spool.TransactionState{
			spool.TransactionHalf, spool.TransactionUndecided, spool.TransactionCommitted, spool.TransactionRolledBack,
		})
		number, span := rapid.Int(), rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64().Draw(t, "span")) })
		x := spool.Transaction{
			ID: text.Draw(t, "id"), Key: text.Draw(t, "key"), State: state.Draw(t, "state"), PreparedAt: at.Draw(t, "prepared at"),
			Check: spool.Check{
				URL: text.Draw(t, "url"), After: span.Draw(t, "after"), Interval: span.Draw(t, "interval"), Most: number.Draw(t, "most"), Exhausted: state.Draw(t, "exhausted"),
			},
			Checks: number.Draw(t, "in vain"), LastCheck: text.Draw(t, "last answer"), DecidedBy: text.Draw(t, "decided by"), Duplicate: rapid.Bool().Draw(t, "duplicate"),
		}
		if rapid.Bool().Draw(t, "ended") {
			x.EndedAt = at.Draw(t, "ended at")
		}
		if rapid.Bool().Draw(t, "checked again") {
			x.NextCheckAt = at.Draw(t, "next at")
		}
		if rapid.Bool().Draw(t, "at broker") {
			x.Half = &spool.BrokerHalf{}
		}
		want := transactionJSON{Duplicate: x.Duplicate, Messages: []receiptJSON{}}
		var receipts []message.Receipt
		for range rapid.IntRange(0, 3).Draw(t, "messages") {
			id := message.ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "message"))
			x.Messages = append(x.Messages, id)
			r := message.Receipt{ID: id, Topic: text.Draw(t, "topic")}
			receipts = append(receipts, r)
			want.Messages = append(want.Messages, s.receiptOf(&r))
		}
		want.View = transaction.ViewOf(x)
		encoded, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.appendTransaction(nil, &x, receipts); string(got) != string(encoded) {
			t.Fatalf("got  %s\nwant %s", got, encoded)
		}
	})
}
