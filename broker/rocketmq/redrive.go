package rocketmq

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
)

var errNoTopic = fmt.Errorf("%w: it does not say which topic it is from", broker.ErrUnsendable)

// Redrive implements [broker.DeadLetters]: a message in the group's retry topic, of
// no attempts, which members of the group see under its own topic.
func (d *DeadLetters) Redrive(ctx context.Context, dead *broker.DeadLetter) error {
	m, ok := dead.Handle.(*primitive.MessageExt)
	if !ok {
		return fmt.Errorf("redrive %s: it is not of this backend", dead.Identity)
	}
	if dead.Topic == "" {
		return fmt.Errorf("redrive %s: %w", dead.Identity, errNoTopic)
	}
	addr, ref, err := d.retryQueue(ctx, dead.Queue)
	if err == nil {
		_, err = d.remoting.call(ctx, addr, d.again(m, ref))
	}
	if err != nil {
		return fmt.Errorf("redrive %s: %w", dead.Identity, err)
	}
	return nil
}

// retryQueue chooses a queue of the group's retry topic, on the broker that has the
// dead letter if it can be.
func (d *DeadLetters) retryQueue(ctx context.Context, queue string) (addr string, ref queueRef, err error) {
	route, err := d.names.route(ctx, retryTopicPrefix+d.group)
	if err != nil {
		return "", ref, err
	}
	near, _, _ := strings.Cut(queue, "/")
	for _, q := range route.Queues {
		found := route.master(q.Broker)
		if q.Perm&permWrite == 0 || q.Write == 0 || found == "" {
			continue
		}
		if addr, ref = found, (queueRef{q.Broker, 0}); q.Broker == near {
			break
		}
	}
	if addr == "" {
		return "", ref, fmt.Errorf("find a queue of topic %s%s: %w", retryTopicPrefix, d.group, errNotWritable)
	}
	return addr, ref, nil
}

// again makes the request that sends a dead letter to the group.
func (d *DeadLetters) again(m *primitive.MessageExt, ref queueRef) command {
	flags := m.SysFlag & flagMultiTags
	if intact(m) != nil { // as it is stored, for a client that can read it
		flags = m.SysFlag & (flagMultiTags | flagCompressed | compressionMask<<compressionShift)
	}
	return newCommand(reqSend, map[string]string{
		"producerGroup": innerProducer, "topic": retryTopicPrefix + d.group, fieldQueue: strconv.Itoa(ref.ID),
		"defaultTopic": autoCreateTopic, "defaultTopicQueueNums": "1", "sysFlag": strconv.Itoa(int(flags)),
		"bornTimestamp": strconv.FormatInt(m.BornTimestamp, 10), "flag": strconv.Itoa(int(m.Flag)), "properties": d.kept(m),
		"reconsumeTimes": "0", "maxReconsumeTimes": strconv.Itoa(neverByCount), "unitMode": "false", "batch": "false",
	}, m.Body)
}

const (
	flagMultiTags = 0x2
	// innerProducer is the producer group of what Java's clients send for a group
	// (MixAll.CLIENT_INNER_PRODUCER_GROUP).
	innerProducer = "CLIENT_INNER_PRODUCER"
)

// kept writes the properties of the copy: all but those by which a broker would
// delay it, hold it back, count it as more than a first attempt, or confirm it
// before it is flushed.
func (*DeadLetters) kept(m *primitive.MessageExt) string {
	var text strings.Builder
	for name, value := range m.GetProperties() {
		if transient(name) {
			continue
		}
		if text.Len() > 0 {
			text.WriteByte(2)
		}
		text.WriteString(name)
		text.WriteByte(1)
		text.WriteString(value)
	}
	return text.String()
}

func transient(name string) bool {
	switch name {
	case "DELAY", "REAL_TOPIC", "REAL_QID", "WAIT", "RECONSUME_TIME", "MAX_RECONSUME_TIMES", "CONSUME_START_TIME",
		"TRAN_MSG", "PGROUP", "MIN_OFFSET", "MAX_OFFSET", "DLQ_ORIGIN_TOPIC", "DLQ_ORIGIN_MESSAGE_ID", "__STARTDELIVERTIME":
		return true
	}
	return strings.HasPrefix(name, "TIMER_") || strings.HasPrefix(name, "INNER_")
}
