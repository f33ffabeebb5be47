package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrNoFilter reports a broker that has no SQL filters.
var ErrNoFilter = errors.New("the broker filters by tags only: set enablePropertyFilter=true in its configuration, or filter by tags")

// ErrFilter reports an expression that a broker cannot parse.
var ErrFilter = errors.New("the expression is not SQL92 as RocketMQ has it")

// filterQuestion asks brokers whether they take an SQL filter.
type filterQuestion struct {
	client, group, topic, sql string
}

// ask lets each broker that has queues of the topic parse the filter: otherwise each
// pull from it would fail for ever with no more than a line in a log.
func (q filterQuestion) ask(ctx context.Context, r *remoting, route topicRoute) error {
	body, err := json.Marshal(map[string]any{
		"clientId": q.client, "group": q.group, "namespace": "",
		"subscriptionData": subscriptionData{Topic: q.topic, Text: q.sql, Type: "SQL92"},
	})
	if err != nil {
		return err
	}
	asked := map[string]bool{}
	for _, queue := range route.readable() {
		addr := route.master(queue.Broker)
		if asked[queue.Broker] || addr == "" {
			continue
		}
		asked[queue.Broker] = true
		_, err := r.call(ctx, addr, newCommand(reqCheckClientConfig, nil, body))
		if err := judgeFilter(err); err != nil {
			return fmt.Errorf("SQL filter %q at %s: %w", q.sql, queue.Broker, err)
		}
	}
	return nil
}

// judgeFilter tells apart what ClientManageProcessor.checkClientConfig of 5.3.3
// answers: that there are no filters has the code of any other error.
func judgeFilter(err error) error {
	answer, ok := errors.AsType[*responseError](err)
	switch {
	case ok && answer.Code == codeSubscriptionParse:
		return fmt.Errorf("%w: %w", ErrFilter, err)
	case ok && strings.Contains(answer.Remark, "does not support consumer to filter message"):
		return fmt.Errorf("%w: %w", ErrNoFilter, err)
	}
	return err
}

// Filter returns nil when all brokers that have queues of the topic take the SQL
// filter. ErrNoFilter and ErrFilter can be told apart.
func (i *Inspector) Filter(ctx context.Context, group, topic, sql string) error {
	route, err := i.names.route(ctx, topic)
	if err != nil {
		return err
	}
	return filterQuestion{newInstance(instancePrefix(""), "check"), group, topic, sql}.ask(ctx, i.remoting, route)
}
