package rocketmq

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const visibleTimeout = 30 * time.Second

// ErrNoOffset says that the consumer group has committed no offset for the queue.
var ErrNoOffset = errors.New("no offset committed")

// CreateTopic makes the topic, or changes its number of queues, and returns once
// each name server that serves tells clients so.
func (b *Broker) CreateTopic(topic string, queues int) error {
	_, err := call(b.Addr(), reqCreateTopic, map[string]string{
		"topic":           topic,
		"defaultTopic":    "TBW102",
		"readQueueNums":   strconv.Itoa(queues),
		"writeQueueNums":  strconv.Itoa(queues),
		"perm":            "6", // read and write
		"topicFilterType": "SINGLE_TAG",
		"topicSysFlag":    "0",
		"order":           "false",
	}, nil)
	if err == nil {
		err = await(visibleTimeout, nil, func() error { return b.visible(topic, queues) })
	}
	if err != nil {
		return fmt.Errorf("create topic %s on %s: %w", topic, b.name, err)
	}
	return nil
}

// UpdateConfig changes one line of the configuration while the broker runs, for
// example brokerPermission to 4 (read only; 6 is read and write). The broker
// writes its broker.conf anew, so the change survives a restart.
func (b *Broker) UpdateConfig(key, value string) error {
	_, err := call(b.Addr(), reqUpdateConfig, nil, []byte(key+"="+value+"\n"))
	if err != nil {
		return fmt.Errorf("update config of %s: %w", b.name, err)
	}
	return nil
}

// SetPassword changes the secret of a user of a broker that asks for credentials.
func (b *Broker) SetPassword(user, password string) error {
	body, err := json.Marshal(map[string]string{"username": user, "password": password})
	if err == nil {
		_, err = call(b.Addr(), reqUpdateUser, map[string]string{"username": user}, body)
	}
	if err != nil {
		return fmt.Errorf("set password of %s at %s: %w", user, b.name, err)
	}
	return nil
}

// ConsumerOffset is the offset that the group committed for the queue, that is
// of the next message it would get; ErrNoOffset if none.
func (b *Broker) ConsumerOffset(group, topic string, queue int) (int64, error) {
	offset, err := b.offset(reqConsumerOffset, map[string]string{
		"consumerGroup":     group,
		"topic":             topic,
		"queueId":           strconv.Itoa(queue),
		"setZeroIfNotFound": "false",
	})
	if r, ok := errors.AsType[*responseError](err); ok && r.Code == codeQueryNotFound {
		err = ErrNoOffset
	}
	if err != nil {
		return 0, fmt.Errorf("offset of %s in %s/%d on %s: %w", group, topic, queue, b.name, err)
	}
	return offset, nil
}

// SetConsumerOffset commits an offset for the group and the queue, as a member that
// has acked all that is before it does.
func (b *Broker) SetConsumerOffset(group, topic string, queue int, offset int64) error {
	_, err := call(b.Addr(), reqUpdateOffset, map[string]string{
		"consumerGroup": group,
		"topic":         topic,
		"queueId":       strconv.Itoa(queue),
		"commitOffset":  strconv.FormatInt(offset, 10),
	}, nil)
	if err != nil {
		return fmt.Errorf("set the offset of %s in %s/%d on %s: %w", group, topic, queue, b.name, err)
	}
	return nil
}

// MaxOffset is the offset that the queue's next message will get; 0 if the
// queue is empty or does not exist.
func (b *Broker) MaxOffset(topic string, queue int) (int64, error) {
	offset, err := b.offset(reqMaxOffset, map[string]string{
		"topic":   topic,
		"queueId": strconv.Itoa(queue),
	})
	if err != nil {
		return 0, fmt.Errorf("max offset of %s/%d on %s: %w", topic, queue, b.name, err)
	}
	return offset, nil
}

func (b *Broker) offset(code int, fields map[string]string) (int64, error) {
	answer, err := call(b.Addr(), code, fields, nil)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(answer.ExtFields["offset"], 10, 64)
}
