package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// Committed implements [broker.Halves]: it looks for the message under the topic that
// consumers read. Half messages lie in another one.
func (h *Halves) Committed(ctx context.Context, p message.HalfPlace, since time.Time) (bool, error) {
	all, err := h.find(ctx, p, p.Topic, since)
	if errors.Is(err, broker.ErrMayNotLook) { // who may only publish
		return false, nil
	}
	return len(all) > 0, err
}

// droppedTopic is where a broker puts the half messages for which it asks no more:
// those it has asked for transactionCheckMax times, and those that are older than its
// log may be (TransactionalMessageServiceImpl.check, needDiscard and needSkip).
const droppedTopic = "TRANS_CHECK_MAX_TIME_TOPIC"

// Dropped implements [broker.Halves].
func (h *Halves) Dropped(ctx context.Context, p message.HalfPlace, half broker.Half, since time.Time) (bool, error) {
	all, err := h.find(ctx, p, droppedTopic, since)
	return slices.ContainsFunc(all, func(m *primitive.MessageExt) bool { return m.GetProperty(message.PropHalf) == numbered(half) }), err
}

// find looks in the index of a broker for a message, by its unique key.
func (h *Halves) find(ctx context.Context, p message.HalfPlace, topic string, since time.Time) ([]*primitive.MessageExt, error) {
	if !h.calls.enter() {
		return nil, broker.ErrClosed
	}
	defer h.calls.leave()
	addr, err := h.master(ctx, p.Broker, p.Topic, p.Address)
	if err != nil {
		return nil, err
	}
	answer, err := h.remoting.call(ctx, addr, newCommand(reqQueryMessage, map[string]string{
		"topic": topic, "key": p.MessageID, "_UNIQUE_KEY_QUERY": "true", "maxNum": "32",
		"beginTimestamp": strconv.FormatInt(since.Add(-clockApart).UnixMilli(), 10),
		"endTimestamp":   strconv.FormatInt(time.Now().Add(clockApart).UnixMilli(), 10), "bname": p.Broker,
	}, nil))
	switch code, _ := codeOf(err); code {
	case codeQueryNotFound:
		return nil, nil
	case codeNoPermission:
		err = fmt.Errorf("%w: %w", broker.ErrMayNotLook, err)
	}
	if err != nil {
		return nil, fmt.Errorf("look for message %s in %s at %s: %w", p.MessageID, topic, p.Broker, err)
	}
	return slices.DeleteFunc(primitive.DecodeMessage(answer.body), func(m *primitive.MessageExt) bool { // the index is by hashes
		return m.Topic != topic || m.GetProperty(primitive.PropertyUniqueClientMessageIdKeyIndex) != p.MessageID
	}), nil
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
	half, err := readNumbered(m.GetProperty(message.PropHalf))
	id, failed := message.ParseID(q.Place.MessageID)
	if err == nil && failed == nil && m.GetProperty(message.PropOrigin) == id.Spool().String() {
		q.MessageID, q.Half = id, half
	}
	return q, nil
}
