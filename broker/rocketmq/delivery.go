package rocketmq

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// origin is a Delivery's Handle: which copy of the message, on which broker.
type origin struct {
	broker    string // name
	storeHost string // host:port that the broker stored it under
	offset    int64  // in the commit log
	messageID string // as the client names it
}

// delivery maps what the library hands over. queue is where it was pulled from:
// the library overwrites the topic of a retried message with the original one.
func delivery(m *primitive.MessageExt, queue primitive.MessageQueue, sub broker.Subscription) (*message.Delivery, error) {
	if err := intact(m); err != nil {
		return nil, err
	}
	d := &message.Delivery{
		Message:         readMessage(m),
		Subscription:    sub.Name,
		Group:           sub.Group,
		BrokerMessageID: m.OffsetMsgId,
		Queue:           queueName(&queue),
		Offset:          m.QueueOffset,
		Attempt:         int(m.ReconsumeTimes) + 1,
		BornAt:          time.UnixMilli(m.BornTimestamp),
		Handle:          origin{queue.BrokerName, m.StoreHost, m.CommitLogOffset, m.MsgId},
	}
	d.ID, d.Identity = identity(m, queue.Topic)
	if !d.ID.IsZero() { // else it is another producer's property of that name
		d.TopicSeq, _ = strconv.ParseUint(m.GetProperty(message.PropTopicSeq), 10, 64)
	}
	return d, nil
}

// identity trusts UNIQ_KEY only where our own sidecar set it: other producers'
// repeat (primitive/message.go:547). A copy that the broker made for a retry
// remembers the offset message ID of the first one.
func identity(m *primitive.MessageExt, topic string) (message.ID, string) {
	id, err := message.ParseID(m.GetProperty(primitive.PropertyUniqueClientMessageIdKeyIndex))
	if err == nil && m.GetProperty(message.PropOrigin) == id.Spool().String() {
		return id, id.String()
	}
	if first := m.GetProperty(primitive.PropertyOriginMessageId); first != "" && strings.HasPrefix(topic, retryTopicPrefix) {
		return message.ID{}, first
	}
	return message.ID{}, m.OffsetMsgId
}

func readMessage(m *primitive.MessageExt) message.Message {
	read := message.Message{
		Topic:           m.Topic,
		Tag:             m.GetTags(),
		OrderingKey:     m.GetProperty(message.PropOrderingKey),
		ContentType:     m.GetProperty(message.PropContentType),
		ContentEncoding: m.GetProperty(message.PropContentEncoding),
		TraceParent:     m.GetProperty(message.PropTraceParent),
		TraceState:      m.GetProperty(message.PropTraceState),
		Body:            m.Body,
	}
	if keys := m.GetKeys(); keys != "" {
		read.Keys = strings.Fields(keys)
	}
	for name, value := range m.GetProperties() {
		if !systemProperty(name) {
			read.Properties = append(read.Properties, message.Property{Name: name, Value: value})
		}
	}
	message.SortProperties(read.Properties)
	return read
}

// systemProperty tells RocketMQ's and our properties from an application's. Case
// matters, other than at our door: RocketMQ's names are upper-case, and another
// producer's "cluster" is its own.
func systemProperty(name string) bool {
	switch name {
	case message.PropContentType, message.PropContentEncoding, message.PropTraceParent, message.PropTraceState:
		return true
	}
	return strings.HasPrefix(name, "__") || strings.HasPrefix(name, "remora-") ||
		name == strings.ToUpper(name) && message.Reserved(name)
}

// errUndecodable is a body that must not be handed to an application.
var errUndecodable = errors.New("body cannot be decoded")

// Compression of a body, in its system flag (MessageSysFlag of 5.3.3).
const (
	flagCompressed   = 0x1
	compressionShift = 8
	compressionMask  = 7
	compressionZlib  = 3 // 0 too: clients before 5.0
)

// intact reports a body that the library hands over as it found it: it knows
// only zlib, and on failure returns the compressed bytes without an error
// (internal/utils/compression.go:73-86). The checksum is of the stored bytes.
func intact(m *primitive.MessageExt) error {
	stored := int32(crc32.ChecksumIEEE(m.Body)&0x7fffffff) == m.BodyCRC // UtilAll.crc32
	if m.SysFlag&flagCompressed == 0 {
		if !stored {
			return fmt.Errorf("%w: its checksum does not match", errUndecodable)
		}
		return nil
	}
	switch kind := m.SysFlag >> compressionShift & compressionMask; {
	case kind != 0 && kind != compressionZlib:
		return fmt.Errorf("%w: it is compressed with %s; let its producer use ZLIB or none", errUndecodable, compressionName(kind))
	case stored:
		return fmt.Errorf("%w: it is not the ZLIB stream that its flags claim", errUndecodable)
	}
	return nil
}

func compressionName(kind int32) string {
	switch kind {
	case 1:
		return "LZ4"
	case 2:
		return "ZSTD"
	}
	return fmt.Sprintf("method %d", kind)
}
