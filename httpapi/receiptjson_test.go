package httpapi

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/internal/wire"
	"github.com/remora-mq/remora/message"
)

// TestReceiptIsWrittenAsJSONWouldBe compares our writer with encoding/json.
func TestReceiptIsWrittenAsJSONWouldBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9_|%-]{0,20}`), rapid.String())
		flag := rapid.Bool()
		r := receiptJSON{
			ID:    message.ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
			Topic: text.Draw(t, "topic"), State: rapid.SampledFrom(message.States()).Draw(t, "state"),
			Stored: flag.Draw(t, "stored"), Confirmed: flag.Draw(t, "confirmed"), Duplicate: flag.Draw(t, "duplicate"),
			Survives: text.Draw(t, "survives"), BrokerType: text.Draw(t, "broker type"),
			AcceptedAt: wire.Time(time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "accepted"))),
		}
		if flag.Draw(t, "delayed") {
			r.DeliverAt = new(wire.Time(time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "deliver at"))))
		}
		if flag.Draw(t, "at the broker") {
			r.Broker = &message.Confirmation{MessageID: text.Draw(t, "id there"), Queue: text.Draw(t, "queue"), Offset: rapid.Int64().Draw(t, "offset")}
		}
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.appendJSON(nil); string(got) != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}
