package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// errNeverWorks marks what no waiting mends.
var errNeverWorks = errors.New("this subscription can never work")

// prepare returns nil when the library's consumer will start, and does before it
// what it does badly or not at all.
func (c *Consumer) prepare(ctx context.Context) error {
	route, err := c.names.route(ctx, c.sub.Topic)
	if err != nil {
		return err
	}
	if c.queues = len(route.readable()); c.queues == 0 {
		return fmt.Errorf("topic %s has no queue that may be read", c.sub.Topic)
	}
	if err := c.checkSQL(ctx, route); err != nil {
		return err
	}
	if err := c.announce(ctx, route); err != nil {
		return fmt.Errorf("announce group %s: %w", c.sub.Group, err)
	}
	c.surveyStart(ctx, route)
	return c.startAt(ctx, route)
}

// subscriptionData is Java's SubscriptionData.
type subscriptionData struct {
	Topic   string   `json:"topic"`
	Text    string   `json:"subString"`
	Type    string   `json:"expressionType"`
	Version int64    `json:"subVersion"`
	Tags    []string `json:"tagsSet"`
	Codes   []int32  `json:"codeSet"`
}

// checkSQL asks the brokers whether they take the filter. One that has none may yet
// be mended.
func (c *Consumer) checkSQL(ctx context.Context, route topicRoute) error {
	if c.sub.SQL == "" {
		return nil
	}
	err := filterQuestion{c.options.Instance, c.sub.Group, c.sub.Topic, c.sub.SQL}.ask(ctx, c.remoting, route)
	if errors.Is(err, ErrFilter) {
		return fmt.Errorf("%w: %w", errNeverWorks, err)
	}
	return err
}

const (
	announceTime  = 5 * time.Second
	announcePause = 50 * time.Millisecond
)

// announce makes brokers create a new group and its retry topic before the
// library joins. The library asks for the topic's route when it starts, and
// again only after 30 s (internal/client.go:443): until then what is sent back
// would not come again. No announcement stays, so no queue is given to it.
func (c *Consumer) announce(ctx context.Context, topic topicRoute) error {
	ctx, cancel := context.WithTimeout(ctx, announceTime)
	defer cancel()
	missing, err := c.withoutRetryTopic(ctx, topic)
	for _, name := range missing {
		if err := c.heartbeat(ctx, topic.master(name)); err != nil {
			return err
		}
	}
	for err == nil && len(missing) > 0 {
		select {
		case <-time.After(announcePause):
		case <-ctx.Done():
			return nil // it will be found later
		}
		missing, err = c.withoutRetryTopic(ctx, topic)
	}
	return err
}

// withoutRetryTopic names the brokers with queues of the topic that have none of
// the group's retry topic.
func (c *Consumer) withoutRetryTopic(ctx context.Context, topic topicRoute) ([]string, error) {
	retry, err := c.names.route(ctx, retryTopicPrefix+c.sub.Group)
	if err != nil && !errors.Is(err, errTopicNotExist) {
		return nil, err
	}
	have := map[string]bool{}
	for _, q := range retry.Queues {
		have[q.Broker] = true
	}
	var missing []string
	for _, q := range topic.readable() {
		if !have[q.Broker] && topic.master(q.Broker) != "" {
			have[q.Broker] = true
			missing = append(missing, q.Broker)
		}
	}
	return missing, nil
}

// heartbeat joins and leaves, on a connection of its own that both calls use.
func (c *Consumer) heartbeat(ctx context.Context, addr string) error {
	r := newRemoting(c.remoting.keys)
	defer r.close()
	id := newInstance(c.options.Instance, "announce")
	retry := subscriptionData{Topic: retryTopicPrefix + c.sub.Group, Text: "*", Type: "TAG", Version: 1}
	body, err := json.Marshal(map[string]any{
		"clientID":        id,
		"producerDataSet": []any{},
		"consumerDataSet": []any{map[string]any{
			"groupName": c.sub.Group, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
			"consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "unitMode": false,
			"subscriptionDataSet": []any{retry},
		}},
	})
	if err != nil {
		return err
	}
	if _, err := r.call(ctx, addr, newCommand(reqHeartBeat, nil, body)); err != nil {
		return err
	}
	_, err = r.call(ctx, addr, newCommand(reqUnregisterClient,
		map[string]string{"clientID": id, fieldGroup: c.sub.Group}, nil))
	return err
}

// startAt gives queues in which the group has no progress the position that From
// asks for. The library always starts at the first message: its other modes
// start so at each loss of an offset, and skip what was sent back first
// (consumer.go:812-824), and brokers answer 0 for young queues anyway.
func (c *Consumer) startAt(ctx context.Context, route topicRoute) error {
	if !c.sub.From.Latest && c.sub.From.Time.IsZero() {
		return nil
	}
	for _, q := range route.readable() {
		if err := c.startQueueAt(ctx, route.master(q.Broker), q.ID); err != nil {
			return fmt.Errorf("set start of queue %s: %w", q, err)
		}
	}
	return nil
}

func (c *Consumer) startQueueAt(ctx context.Context, addr string, queue int) error {
	next, err := c.progress(ctx, addr, queue)
	if err != nil || next >= 0 {
		return err // none: the group has been here before
	}
	var at int64
	if c.sub.From.Latest {
		at, err = c.offset(ctx, addr, queue, reqMaxOffset)
	} else {
		at, err = c.offset(ctx, addr, queue, reqSearchOffset, "timestamp", strconv.FormatInt(c.sub.From.Time.UnixMilli(), 10))
	}
	if err != nil {
		return err
	}
	return c.setProgress(ctx, addr, queue, at)
}
