package rocketmq

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

var (
	// errTopicNotExist: a name server answered that it does not know the topic.
	errTopicNotExist = errors.New("no broker has the topic; create it")
	// errNotWritable: it does, and none of its queues may be written.
	errNotWritable = errors.New("the topic, or its broker, is read-only")
	// errNoMaster: a name server answered that it knows no broker that is one.
	errNoMaster = errors.New("no broker that is a master is known")
	// errNoNameServer: none answered.
	errNoNameServer = errors.New("no name server answers")
)

const (
	permRead         = 4
	permWrite        = 2
	autoCreateTopic  = "TBW102" // exists where brokers create topics by themselves
	masterID         = "0"
	retryTopicPrefix = "%RETRY%"
)

// queueRef is one queue of a topic.
type queueRef struct {
	Broker string
	ID     int
}

func (q queueRef) String() string { return fmt.Sprintf("%s/%d", q.Broker, q.ID) }

// topicRoute is what name servers say of a topic (TopicRouteData).
type topicRoute struct {
	Brokers []struct {
		Name  string            `json:"brokerName"`
		Addrs map[string]string `json:"brokerAddrs"` // by brokerId
	} `json:"brokerDatas"`
	Queues []struct {
		Broker string `json:"brokerName"`
		Read   int    `json:"readQueueNums"`
		Write  int    `json:"writeQueueNums"`
		Perm   int    `json:"perm"`

		SysFlag int `json:"topicSysFlag"`
	} `json:"queueDatas"`
}

// master returns the address of the broker's master, "" if it has none now.
func (r topicRoute) master(name string) string {
	for _, b := range r.Brokers {
		if b.Name == name {
			return b.Addrs[masterID]
		}
	}
	return ""
}

// readable returns the queues that may be consumed, in order.
func (r topicRoute) readable() []queueRef {
	var all []queueRef
	for _, q := range r.Queues {
		if q.Perm&permRead == 0 {
			continue
		}
		for id := range q.Read {
			all = append(all, queueRef{q.Broker, id})
		}
	}
	slices.SortFunc(all, compareRefs)
	return all
}

// writableQueues names the queues that may be sent to, as the library finds them:
// those of brokers that have a master.
func (r topicRoute) writableQueues() (names []string) {
	for _, q := range r.writableRefs() {
		names = append(names, q.String())
	}
	return names
}

func (r topicRoute) writableRefs() (all []queueRef) {
	for _, q := range r.Queues {
		if q.Perm&permWrite == 0 || r.master(q.Broker) == "" {
			continue
		}
		for id := range q.Write {
			all = append(all, queueRef{q.Broker, id})
		}
	}
	slices.SortFunc(all, compareRefs)
	return all
}

func compareRefs(a, b queueRef) int {
	return cmp.Or(cmp.Compare(a.Broker, b.Broker), cmp.Compare(a.ID, b.ID))
}

// route finds a topic's route. errTopicNotExist and errNoNameServer can be told apart.
func (n nameServers) route(ctx context.Context, topic string) (topicRoute, error) {
	_, r, err := n.find(ctx, topic)
	return r, err
}

// find is route, with the answer as it came.
func (n nameServers) find(ctx context.Context, topic string) (body []byte, r topicRoute, err error) {
	// Without acceptStandardJsonOnly the map keys are not quoted.
	fields := map[string]string{"topic": topic, "acceptStandardJsonOnly": "true"}
	err = n.ask(ctx, newCommand(reqRoute, fields, nil), func(answer command) error {
		body, r = answer.body, topicRoute{}
		return json.Unmarshal(body, &r)
	})
	if err == nil {
		return body, r, nil
	}
	if !errors.Is(err, errTopicNotExist) {
		err = fmt.Errorf("%w: %w", errNoNameServer, err)
	}
	return nil, topicRoute{}, fmt.Errorf("find route of topic %s: %w", topic, err)
}

// writable reports whether a queue may be written.
func (r topicRoute) writable() bool {
	for _, q := range r.Queues {
		if q.Perm&permWrite != 0 {
			return true
		}
	}
	return false
}

// publishable returns nil when the library will find where to send topic.
func (n nameServers) publishable(ctx context.Context, topic string) error {
	r, err := n.route(ctx, topic)
	switch {
	case err == nil && !r.writable():
		return fmt.Errorf("find route of topic %s: %w", topic, errNotWritable)
	case !errors.Is(err, errTopicNotExist):
		return err
	}
	if _, auto := n.route(ctx, autoCreateTopic); auto == nil {
		return nil
	}
	return err
}
