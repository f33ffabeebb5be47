package rocketmq

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// Committed implements [broker.Halves]: it looks for the message in the broker's
// index, by its unique key, under the topic that consumers read. Half messages lie in
// another one.
func (h *Halves) Committed(ctx context.Context, p message.HalfPlace, since time.Time) (bool, error) {
	if !h.calls.enter() {
		return false, broker.ErrClosed
	}
	defer h.calls.leave()
	addr, err := h.master(ctx, p.Broker, p.Topic, p.Address)
	if err != nil {
		return false, err
	}
	answer, err := h.remoting.call(ctx, addr, newCommand(reqQueryMessage, map[string]string{
		"topic": p.Topic, "key": p.MessageID, "_UNIQUE_KEY_QUERY": "true", "maxNum": "32",
		"beginTimestamp": strconv.FormatInt(since.Add(-clockApart).UnixMilli(), 10),
		"endTimestamp":   strconv.FormatInt(time.Now().Add(clockApart).UnixMilli(), 10), "bname": p.Broker,
	}, nil))
	if code, ok := codeOf(err); ok && code == codeQueryNotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for message %s at %s: %w", p.MessageID, p.Broker, err)
	}
	for _, m := range primitive.DecodeMessage(answer.body) { // the index is by hashes
		if m.Topic == p.Topic && m.GetProperty(primitive.PropertyUniqueClientMessageIdKeyIndex) == p.MessageID {
			return true, nil
		}
	}
	return false, nil
}

// clockApart is more than the clocks of a broker and of this machine differ.
const clockApart = time.Hour

// readCheck reads a broker's question. What is not one of our half messages has no
// MessageID.
func readCheck(c command, name, addr string) (q broker.HalfCheck, err error) {
	stored := primitive.DecodeMessage(c.body)
	if len(stored) != 1 {
		return q, fmt.Errorf("a check of %d messages", len(stored))
	}
	m, f := stored[0], c.ExtFields
	q.Place = message.HalfPlace{
		Topic: m.Topic, Broker: name, Address: addr, Group: m.GetProperty(primitive.PropertyProducerGroup),
		Queue: queueRef{name, m.Queue.QueueId}.String(), MessageID: m.GetProperty(primitive.PropertyUniqueClientMessageIdKeyIndex),
	}
	if err := readPlace(&q.Place, f["offsetMsgId"], f["transactionId"], f["tranStateTableOffset"]); err != nil {
		return q, err
	}
	if q.Place.LogOffset, err = strconv.ParseInt(f["commitLogOffset"], 10, 64); err != nil {
		return q, fmt.Errorf("an offset in the log %.60q", f["commitLogOffset"])
	}
	q.Times, _ = strconv.Atoi(m.GetProperty("TRANSACTION_CHECK_TIMES"))
	number, transaction, _ := strings.Cut(m.GetProperty(message.PropHalf), " ")
	q.Number, err = strconv.ParseUint(number, 10, 64)
	id, failed := message.ParseID(q.Place.MessageID)
	if err == nil && failed == nil && m.GetProperty(message.PropOrigin) == id.Spool().String() {
		q.MessageID, q.Transaction = id, transaction
	}
	return q, nil
}
