package rocketmq

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// brokerLocks calls LOCK_BATCH_MQ and UNLOCK_BATCH_MQ. Only the queue's own broker is
// asked, as Java clients do. It belongs to one goroutine.
type brokerLocks struct {
	topic, group string
	owner        string // the same after a restart: its own locks are not waited for
	remoting     *remoting
	names        nameServers
	masters      map[string]string // broker → address, as last known
}

func (c *Consumer) newBrokerLocks() *brokerLocks {
	r := newRemoting(c.remoting.keys)
	return &brokerLocks{
		topic: c.sub.Topic, group: c.sub.Group, owner: c.options.Instance + "-" + c.sub.Name,
		remoting: r, names: c.names.through(r), masters: map[string]string{},
	}
}

// lockedQueue is Java's MessageQueue.
type lockedQueue struct {
	Topic  string `json:"topic"`
	Broker string `json:"brokerName"`
	ID     int    `json:"queueId"`
}

// lock implements lockTable.
func (b *brokerLocks) lock(ctx context.Context, broker string, queues []primitive.MessageQueue) ([]primitive.MessageQueue, error) {
	answer, err := b.call(ctx, broker, reqLockQueues, queues)
	if err != nil {
		return nil, err
	}
	var ok struct {
		Queues []lockedQueue `json:"lockOKMQSet"`
	}
	if err := json.Unmarshal(answer.body, &ok); err != nil {
		return nil, fmt.Errorf("read answer to a lock: %w", err)
	}
	var got []primitive.MessageQueue
	for _, q := range ok.Queues {
		got = append(got, primitive.MessageQueue{Topic: q.Topic, BrokerName: q.Broker, QueueId: q.ID})
	}
	return got, nil
}

// unlock implements lockTable.
func (b *brokerLocks) unlock(ctx context.Context, broker string, queues []primitive.MessageQueue) error {
	_, err := b.call(ctx, broker, reqUnlockQueues, queues)
	return err
}

func (b *brokerLocks) call(ctx context.Context, broker string, request int, queues []primitive.MessageQueue) (command, error) {
	set := make([]lockedQueue, len(queues))
	for i, q := range queues {
		set[i] = lockedQueue{q.Topic, q.BrokerName, q.QueueId}
	}
	body, err := json.Marshal(map[string]any{fieldGroup: b.group, "clientId": b.owner, "mqSet": set})
	if err != nil {
		return command{}, err
	}
	addr, err := b.master(ctx, broker)
	if err != nil {
		return command{}, err
	}
	answer, err := b.remoting.call(ctx, addr, newCommand(request, nil, body))
	if err != nil {
		delete(b.masters, broker) // it may have another one now
	}
	return answer, err
}

func (b *brokerLocks) master(ctx context.Context, broker string) (string, error) {
	if known := b.masters[broker]; known != "" {
		return known, nil
	}
	route, err := b.names.route(ctx, b.topic)
	if err != nil {
		return "", err
	}
	addr := route.master(broker)
	if addr == "" {
		return "", fmt.Errorf("broker %s has no master now", broker)
	}
	b.masters[broker] = addr
	return addr, nil
}
