package sidecar

import (
	"cmp"
	"slices"
	"strings"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/spool"
)

// leftMost bounds the topics of an answer.
const leftMost = 100

// left tells a drain what the spool holds, by what that waits for.
func (s *Sidecar) left() (left admin.Left, open bool) {
	f := s.forwarding.Load()
	if f == nil { // else the spool is there, too
		return left, false
	}
	led, kept, transactions := s.spool.Load().Left()
	left = leftOf(led, kept, f.Parked(), f.FailingTopics())
	left.Ending = uint64(transactions.Ending)
	return left, true
}

// leftOf counts by topic. Of what is kept back, parked with a status, and failing with
// an error, the topics are named.
func leftOf(led spool.Ledger, keptBack map[string]uint64, parked, failing map[string]string) (left admin.Left) {
	left.Topics = []admin.TopicLeft{}
	for topic, c := range led.Topics {
		n := c.InSpool
		waiting := n.Pending + n.InFlight + n.Retrying
		held := min(keptBack[topic], waiting)
		one := admin.LeftCounts{Waiting: waiting - held + c.Resending, Delayed: n.Delayed, Half: n.Half, Held: held, Dead: n.Dead}
		if one == (admin.LeftCounts{}) {
			continue
		}
		left.Add(one)
		left.Topics = append(left.Topics, admin.TopicLeft{Topic: topic, LeftCounts: one, Why: why(one, parked[topic], failing[topic])})
	}
	slices.SortFunc(left.Topics, func(a, b admin.TopicLeft) int {
		return cmp.Or(cmp.Compare(b.All(), a.All()), strings.Compare(a.Topic, b.Topic))
	})
	if more := len(left.Topics) - leftMost; more > 0 {
		left.Topics, left.MoreTopics = left.Topics[:leftMost], more
	}
	return left
}

// why says in words what messages of a topic wait for.
func why(n admin.LeftCounts, parked, failing string) string {
	var all []string
	add := func(n uint64, reason string) {
		if n > 0 {
			all = append(all, reason)
		}
	}
	switch {
	case parked != "":
		add(n.Waiting, "parked: "+parked)
	case failing != "":
		add(n.Waiting, "failing: "+failing)
	default:
		add(n.Waiting, "on its way")
	}
	add(n.Held, "on hold, or behind that or a dead letter")
	add(n.Delayed, "not due")
	add(n.Half, "not decided")
	add(n.Dead, "dead letters")
	return strings.Join(all, "; ")
}
