package rocketmq

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// Read implements [broker.DeadLetters].
func (d *DeadLetters) Read(ctx context.Context, queue string, from int64, most int) (all []broker.DeadLetter, next int64, err error) {
	addr, ref, route, err := d.find(ctx, queue)
	if err == nil && !route.permits(ref.Broker, permRead) {
		err = d.makeReadable(ctx, addr, route, ref.Broker)
	}
	for next = from; err == nil && len(all) < most; {
		var some []broker.DeadLetter
		before := next
		some, next, err = d.pull(ctx, addr, ref, next, most-len(all))
		if all = append(all, some...); next == before {
			break
		}
	}
	if err != nil {
		return nil, from, fmt.Errorf("read dead letters in %s: %w", queue, err)
	}
	return all, next, nil
}

// pull asks once. The broker answers with less than was asked for when it likes.
func (d *DeadLetters) pull(ctx context.Context, addr string, ref queueRef, from int64, most int) ([]broker.DeadLetter, int64, error) {
	fields := d.fields(ref.ID)
	maps.Copy(fields, map[string]string{
		"queueOffset": strconv.FormatInt(from, 10), "maxMsgNums": strconv.Itoa(most), "sysFlag": strconv.Itoa(pullWithSubscription),
		"commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "0", "expressionType": "TAG",
	})
	answer, err := d.remoting.call(ctx, addr, newCommand(reqPull, fields, nil))
	code, _ := codeOf(err)
	switch {
	case err == nil:
	case code == codePullNotFound:
		return nil, from, nil
	case code == codePullRetry, code == codePullMoved: // the broker has deleted what is there
		next, err := strconv.ParseInt(answer.ExtFields["nextBeginOffset"], 10, 64)
		return nil, max(next, from), err
	case code == codeNoPermission:
		return nil, from, fmt.Errorf("%w: %w", broker.ErrUnreadable, err)
	default:
		return nil, from, err
	}
	var all []broker.DeadLetter
	for _, m := range primitive.DecodeMessage(answer.body) {
		if m.QueueOffset >= from {
			all = append(all, d.deadLetter(m, ref))
			from = m.QueueOffset + 1
		}
	}
	return all, from, nil
}

// pullWithSubscription says that the request has the subscription, so that nobody
// has to be a member of the group (PullSysFlag.FLAG_SUBSCRIPTION).
const pullWithSubscription = 4

// makeReadable gives the topic on one broker the permission to read, as mqadmin's
// updateTopicPerm does: some versions of brokers make it write-only.
func (d *DeadLetters) makeReadable(ctx context.Context, addr string, route topicRoute, name string) error {
	for _, q := range route.Queues {
		if q.Broker != name {
			continue
		}
		_, err := d.remoting.call(ctx, addr, newCommand(reqUpdateTopic, map[string]string{
			"topic": d.topic(), "defaultTopic": autoCreateTopic,
			"readQueueNums": strconv.Itoa(max(q.Read, q.Write)), "writeQueueNums": strconv.Itoa(q.Write), "perm": strconv.Itoa(q.Perm | permRead),
			"topicFilterType": "SINGLE_TAG", "topicSysFlag": strconv.Itoa(q.SysFlag), "order": "false",
		}, nil))
		if err != nil {
			return fmt.Errorf("%w on broker %s, and that cannot be changed: %w; let an administrator run "+
				"'mqadmin updateTopicPerm -n NAMESERVER -b %s -t %s -p %d'", broker.ErrUnreadable, name, err, addr, d.topic(), q.Perm|permRead)
		}
	}
	return nil
}

// permits reports whether the topic has a permission on a broker.
func (r topicRoute) permits(name string, perm int) bool {
	for _, q := range r.Queues {
		if q.Broker == name && q.Perm&perm != 0 {
			return true
		}
	}
	return false
}

// deadLetter maps a stored message. Its identity is that of the message that died,
// and not of this copy.
func (d *DeadLetters) deadLetter(m *primitive.MessageExt, ref queueRef) broker.DeadLetter {
	m.Topic = m.GetProperty(primitive.PropertyRetryTopic)
	dead := broker.DeadLetter{
		Delivery: message.Delivery{
			Message: readMessage(m), Group: d.group, BrokerMessageID: m.OffsetMsgId,
			Queue: ref.String(), Offset: m.QueueOffset, Attempt: int(m.ReconsumeTimes),
			BornAt: time.UnixMilli(m.BornTimestamp), Handle: m,
		},
		DiedAt: time.UnixMilli(m.StoreTimestamp),
	}
	dead.ID, dead.Identity = identity(m, retryTopicPrefix)
	if !dead.ID.IsZero() {
		dead.TopicSeq, _ = strconv.ParseUint(m.GetProperty(message.PropTopicSeq), 10, 64)
	}
	if err := intact(m); err != nil {
		dead.Damage = err.Error()
	}
	return dead
}
