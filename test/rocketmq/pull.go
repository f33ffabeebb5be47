package rocketmq

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Message is a message as it lies in a queue of a broker.
type Message struct {
	Offset     int64 // in the queue
	StoredAt   time.Time
	Body       []byte
	Properties map[string]string
}

// pullGroup is the consumer group that reads for tests. It commits no offset.
const pullGroup = "test-pull"

// Pull returns messages of a queue from an offset on, as a consumer's pull gets
// them: up to 1,000, and none when there is nothing yet. It shares no code with
// the clients that are tested.
func (b *Broker) Pull(topic string, queue int, from int64) ([]Message, error) {
	answer, err := call(b.Addr(), reqPull, map[string]string{
		"consumerGroup":        pullGroup,
		"topic":                topic,
		"queueId":              strconv.Itoa(queue),
		"queueOffset":          strconv.FormatInt(from, 10),
		"maxMsgNums":           "1000",
		"sysFlag":              "4", // the subscription is in this request
		"commitOffset":         "0",
		"suspendTimeoutMillis": "0",
		"subscription":         "*",
		"subVersion":           "0",
		"expressionType":       "TAG",
	}, nil)
	if r, ok := errors.AsType[*responseError](err); ok && r.Code == codePullNotFound {
		return nil, nil
	}
	var all []Message
	if err == nil {
		all, err = decodeMessages(answer.body)
	}
	if err != nil {
		return nil, fmt.Errorf("pull %s/%d of %s from %d: %w", topic, queue, b.name, from, err)
	}
	return all, nil
}

var errTruncated = errors.New("a message is cut off")

func decodeMessages(stored []byte) (all []Message, err error) {
	for len(stored) > 0 && err == nil {
		var m Message
		if m, stored, err = decodeMessage(stored); err == nil {
			all = append(all, m)
		}
	}
	return all, err
}

// decodeMessage reads one message and returns what follows it. The layout is
// that of MessageDecoder.decode for MESSAGE_MAGIC_CODE, with IPv4 hosts.
func decodeMessage(stored []byte) (m Message, rest []byte, err error) {
	r := reader{rest: stored}
	size := int(r.number(4))
	r.skip(4 + 4 + 4 + 4) // magic, CRC, queue, flag
	m.Offset = int64(r.number(8))
	r.skip(8 + 4 + 8 + 8) // offset in the log, system flag, born when and where
	m.StoredAt = time.UnixMilli(int64(r.number(8)))
	r.skip(8 + 4 + 8) // stored where, times consumed, transaction
	m.Body = r.bytes(int(r.number(4)))
	r.skip(int(r.number(1))) // topic
	m.Properties = decodeProperties(string(r.bytes(int(r.number(2)))))
	if r.short || size > len(stored) || size != len(stored)-len(r.rest) {
		return m, nil, errTruncated
	}
	return m, r.rest, nil
}

func decodeProperties(text string) map[string]string {
	all := map[string]string{}
	for pair := range strings.SplitSeq(text, "\x02") {
		if name, value, ok := strings.Cut(pair, "\x01"); ok {
			all[name] = value
		}
	}
	return all
}

// reader takes big-endian fields off the front, and zeros once it is short.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.short = true
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) skip(n int) { r.bytes(n) }

func (r *reader) number(bytes int) uint64 {
	var b [8]byte
	copy(b[8-bytes:], r.bytes(bytes))
	return binary.BigEndian.Uint64(b[:])
}
