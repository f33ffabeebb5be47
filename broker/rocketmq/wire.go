package rocketmq

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// maxRequest is far above what brokers take and below the 16 MiB at which they
// close the connection, with all that is in flight on it.
const maxRequest = 12 << 20

// propTimer is when the broker's timer delivers a message, in milliseconds since 1970.
const propTimer = "TIMER_DELIVER_MS"

// toWire makes what one attempt hands to the library. The library changes what
// it is given, and an abandoned call keeps it: so bodies are copied.
func toWire(msgs []*message.Message, a *attempt) ([]*primitive.Message, *broker.SendError) {
	if len(msgs) > 1 {
		return encodeBatch(msgs, a)
	}
	w := wireMessage(msgs[0])
	w.Queue = &a.ticket
	properties := len(w.MarshallProperties())
	if e := sendable(msgs[0], properties, len(w.Body)+properties); e != nil {
		return nil, e
	}
	return []*primitive.Message{w}, nil
}

// sendable refuses what would harm: an empty body is a NullPointerException in
// the broker, and a length of properties above 16 bits corrupts a batch
// (primitive/message.go:233).
func sendable(m *message.Message, properties, request int) *broker.SendError {
	if len(m.Body) > 0 && properties <= math.MaxInt16 && request <= maxRequest {
		return nil
	}
	return notSent("message %s: a body of %d and properties of %d bytes, a request of %d, cannot be sent",
		m.ID, len(m.Body), properties, request)
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
	properties(m, w.WithProperty)
	if at := m.TimerAt(); !at.IsZero() && at.After(time.Now()) { // a batch has no timers
		w.WithProperty(propTimer, strconv.FormatInt(at.UnixMilli(), 10))
	}
	return w
}

// properties calls set with each property of m that has a value. Of two with the
// same name the later counts.
func properties(m *message.Message, set func(name, value string)) {
	with := func(name, value string) {
		if value != "" {
			set(name, value)
		}
	}
	for _, p := range m.Properties {
		with(p.Name, p.Value)
	}
	with(primitive.PropertyUniqueClientMessageIdKeyIndex, m.ID.String())
	with(message.PropOrigin, m.ID.Spool().String())
	if m.TopicSeq > 0 {
		with(message.PropTopicSeq, strconv.FormatUint(m.TopicSeq, 10))
	}
	with(primitive.PropertyTags, m.Tag)
	with(primitive.PropertyKeys, strings.Join(m.Keys, primitive.PropertyKeySeparator))
	with(message.PropOrderingKey, m.OrderingKey)
	with(message.PropContentType, m.ContentType)
	with(message.PropContentEncoding, m.ContentEncoding)
	with(message.PropTraceParent, m.TraceParent)
	with(message.PropTraceState, m.TraceState)
}

// confirmations of a result that outcome has judged confirmed. A batch lies in
// one queue at consecutive offsets, of which the result names the first.
func confirmations(r *primitive.SendResult, msgs []*message.Message) []message.Confirmation {
	all, queue := make([]message.Confirmation, len(msgs)), queueName(r.MessageQueue)
	for i, id := range offsetIDs(r) {
		all[i] = message.Confirmation{
			MessageID:       msgs[i].ID.String(),
			OffsetMessageID: id,
			Queue:           queue,
			Offset:          r.QueueOffset + int64(i),
		}
	}
	return all
}

// encodeProperties writes properties as MessageDecoder.messageProperties2String does.
func encodeProperties(all map[string]string) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if text.Len() > 0 {
			text.WriteByte(2)
		}
		text.WriteString(name)
		text.WriteByte(1)
		text.WriteString(all[name])
	}
	return text.String()
}
