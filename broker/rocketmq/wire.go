package rocketmq

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// maxRequest is far above what brokers take and below the 16 MiB at which they
// close the connection, with all that is in flight on it.
const maxRequest = 12 << 20

// toWire makes new messages for one attempt. The library changes those it is
// given, and an abandoned call keeps them: so bodies are copied.
func toWire(msgs []*message.Message, a *attempt) ([]*primitive.Message, *broker.SendError) {
	all := make([]*primitive.Message, len(msgs))
	total := 0
	for i, m := range msgs {
		if e := sameLane(msgs[0], m, a.queue != ""); e != nil {
			return nil, e
		}
		all[i] = wireMessage(m)
		all[i].Queue = &a.ticket
		properties := len(all[i].MarshallProperties())
		total += len(m.Body) + properties
		// An empty body is a NullPointerException in the broker; a length of
		// properties above 16 bits corrupts a batch (primitive/message.go:233).
		if len(m.Body) == 0 || properties > math.MaxInt16 || total > maxRequest {
			return nil, notSent("message %s: a body of %d and properties of %d bytes, a request of %d, cannot be sent",
				m.ID, len(m.Body), properties, total)
		}
	}
	return all, nil
}

// sameLane refuses what may not be in one batch; bound: all goes to one queue.
func sameLane(first, m *message.Message, bound bool) *broker.SendError {
	sameKey := first.OrderingKey == m.OrderingKey || bound && m.OrderingKey != ""
	if first.Topic != m.Topic || !sameKey {
		return notSent("message %s is of another topic or ordering key than its batch", m.ID)
	}
	return nil
}

func notSent(format string, args ...any) *broker.SendError {
	return &broker.SendError{Outcome: message.OutcomePermanent, Status: statusIllegal, Err: fmt.Errorf(format, args...)}
}

func wireMessage(m *message.Message) *primitive.Message {
	w := primitive.NewMessage(m.Topic, slices.Clone(m.Body))
	for _, p := range m.Properties {
		w.WithProperty(p.Name, p.Value)
	}
	// WithProperty ignores an empty value.
	w.WithProperty(primitive.PropertyUniqueClientMessageIdKeyIndex, m.ID.String())
	w.WithProperty(message.PropOrigin, m.ID.Spool().String())
	if m.TopicSeq > 0 {
		w.WithProperty(message.PropTopicSeq, strconv.FormatUint(m.TopicSeq, 10))
	}
	w.WithProperty(primitive.PropertyTags, m.Tag)
	w.WithProperty(primitive.PropertyKeys, strings.Join(m.Keys, primitive.PropertyKeySeparator))
	w.WithProperty(message.PropOrderingKey, m.OrderingKey)
	w.WithProperty(message.PropContentType, m.ContentType)
	w.WithProperty(message.PropContentEncoding, m.ContentEncoding)
	w.WithProperty(message.PropTraceParent, m.TraceParent)
	w.WithProperty(message.PropTraceState, m.TraceState)
	return w
}

// confirmations of a result that outcome has judged confirmed. A batch lies in
// one queue at consecutive offsets, of which the result names the first.
func confirmations(r *primitive.SendResult, msgs []*message.Message) []message.Confirmation {
	all := make([]message.Confirmation, len(msgs))
	for i, id := range offsetIDs(r) {
		all[i] = message.Confirmation{
			MessageID:       msgs[i].ID.String(),
			OffsetMessageID: id,
			Queue:           queueName(r.MessageQueue),
			Offset:          r.QueueOffset + int64(i),
		}
	}
	return all
}
