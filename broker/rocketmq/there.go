package rocketmq

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// There implements [broker.Halves].
func (h *Halves) There(ctx context.Context, p message.HalfPlace) (half broker.Half, err error) {
	if !h.calls.enter() {
		return half, broker.ErrClosed
	}
	defer h.calls.leave()
	addr, err := h.master(ctx, p.Broker, p.Topic, p.Address)
	if err != nil {
		return half, err
	}
	answer, err := h.remoting.call(ctx, addr, newCommand(reqViewMessage, map[string]string{
		"topic": p.Topic, "offset": strconv.FormatInt(p.LogOffset, 10), "bname": p.Broker,
	}, nil))
	switch code, _ := codeOf(err); {
	case err == nil:
		return halfAt(answer.body, p), nil
	case isNothing(err):
		return half, nil
	case code == codeNoPermission:
		err = fmt.Errorf("%w: %w", broker.ErrMayNotLook, err)
	}
	return half, fmt.Errorf("look at the place of half message %s at %s: %w", p.MessageID, p.Broker, err)
}

// isNothing reports the answer of 5.3.3 by which no message begins there
// (QueryMessageProcessor.viewMessageById). Where one does not begin it may also send
// what it takes for one.
func isNothing(err error) bool {
	re, ok := errors.AsType[*responseError](err)
	return ok && re.Code == codeSystemError && strings.HasPrefix(re.Remark, "can not find message by the offset")
}

// halfTopic is where a broker keeps half messages (TopicValidator).
const halfTopic = "RMQ_SYS_TRANS_HALF_TOPIC"

// magics of a message in a broker's log (MessageDecoder).
var magics = []uint32{0xdaa320a7, 0xdaa320a7 + 4}

// halfAt reads which half message of the message of that place a broker's bytes are.
func halfAt(b []byte, p message.HalfPlace) (half broker.Half) {
	if len(b) < 8 || int64(binary.BigEndian.Uint32(b)) != int64(len(b)) || !slices.Contains(magics, binary.BigEndian.Uint32(b[4:])) {
		return half
	}
	found := primitive.DecodeMessage(b)
	if len(found) != 1 || found[0].Topic != halfTopic || found[0].CommitLogOffset != p.LogOffset ||
		found[0].GetProperty(primitive.PropertyUniqueClientMessageIdKeyIndex) != p.MessageID {
		return half
	}
	half, _ = readNumbered(found[0].GetProperty(message.PropHalf))
	return half
}
