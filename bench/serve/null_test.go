package serve

import (
	"testing"

	"github.com/remora-mq/remora/message"
)

func TestNullBrokerConfirmsAsABrokerDoes(t *testing.T) {
	msgs := []*message.Message{{ID: message.ID{1}, Seq: 7}, {ID: message.ID{2}, Seq: 8}}
	confirmations, err := nullBroker{}.Send(t.Context(), msgs)
	if err != nil || len(confirmations) != len(msgs) {
		t.Fatalf("got %v, %v", confirmations, err)
	}
	for i, c := range confirmations {
		if c.MessageID != msgs[i].ID.String() || c.OffsetMessageID == "" || c.Queue == "" || c.Offset != int64(msgs[i].Seq) {
			t.Errorf("message %d: %+v", i, c)
		}
	}
}
