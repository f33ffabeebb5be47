package rocketmq

import (
	"testing"

	"github.com/apache/rocketmq-client-go/v2/rlog"

	"github.com/remora-mq/remora/broker"
)

func TestJumpsAreHeard(t *testing.T) {
	table := jumpTable{all: map[[2]string]*jumpEar{}}
	var first, second []broker.Jump
	stopFirst := table.listen("app", "orders", func(j broker.Jump) { first = append(first, j) })
	log := func(request any) { table.heard(map[string]any{rlog.LogKeyPullRequest: request}) }
	const ours = "[ConsumerGroup: app, Topic: orders, MessageQueue: brokerName=broker-a, queueId=3, nextOffset=1000]"
	log(ours)
	stopSecond := table.listen("app", "orders", func(j broker.Jump) { second = append(second, j) })
	stopFirst() // after another has begun
	log("[ConsumerGroup: app, Topic: %RETRY%app, MessageQueue: brokerName=broker-a, queueId=0, nextOffset=7]")
	for _, not := range []any{
		"[ConsumerGroup: other, Topic: orders, MessageQueue: brokerName=b, queueId=3, nextOffset=1]",
		"[ConsumerGroup: app, Topic: others, MessageQueue: brokerName=b, queueId=3, nextOffset=1]",
		"", "[ConsumerGroup: app", 7, nil,
	} {
		log(not)
	}
	stopSecond()
	log(ours)
	if want := (broker.Jump{Topic: "orders", Queue: "broker-a/3", From: 1000}); len(first) != 1 || first[0] != want {
		t.Errorf("the first heard %+v, want %+v", first, want)
	}
	if want := (broker.Jump{Topic: "%RETRY%app", Queue: "broker-a/0", From: 7}); len(second) != 1 || second[0] != want {
		t.Errorf("the second heard %+v, want %+v", second, want)
	}
}
