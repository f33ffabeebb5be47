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

// nameServers asks for routes, unlike the library under the caller's context.
type nameServers struct {
	addrs    []string
	remoting *remoting
}

// route asks one name server after the other. errTopicNotExist and
// errNoNameServer can be told apart.
func (n nameServers) route(ctx context.Context, topic string) (topicRoute, error) {
	// Without acceptStandardJsonOnly the map keys are not quoted.
	fields := map[string]string{"topic": topic, "acceptStandardJsonOnly": "true"}
	var failed []error
	for _, addr := range n.addrs {
		answer, err := n.remoting.call(ctx, addr, newCommand(reqRoute, fields, nil))
		if err == nil {
			var r topicRoute
			if err = json.Unmarshal(answer.body, &r); err == nil {
				return r, nil
			}
		}
		if code, ok := codeOf(err); ok && code == codeTopicNotExist {
			err = errTopicNotExist
		}
		failed = append(failed, err)
	}
	err := errors.Join(failed...)
	if !errors.Is(err, errTopicNotExist) {
		err = fmt.Errorf("%w: %w", errNoNameServer, err)
	}
	return topicRoute{}, fmt.Errorf("find route of topic %s: %w", topic, err)
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
