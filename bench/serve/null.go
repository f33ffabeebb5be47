package serve

import (
	"context"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// nullBroker confirms everything at once.
type nullBroker struct{}

var _ broker.Producer = nullBroker{}

func (nullBroker) Send(_ context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	confirmations := make([]message.Confirmation, len(msgs))
	for i, m := range msgs {
		confirmations[i] = message.Confirmation{
			MessageID:       m.ID.String(),
			OffsetMessageID: "7F00000100002A9F0000000000000000", // the length of a real one
			Queue:           "null/0",
			Offset:          int64(m.Seq),
		}
	}
	return confirmations, nil
}

func (nullBroker) Close() error { return nil }
