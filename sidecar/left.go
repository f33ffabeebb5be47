package sidecar

import (
	"cmp"
	"slices"
	"strings"
	"time"

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
	sp := s.spool.Load()
	led, kept, transactions := sp.Left()
	left = leftOf(led, kept, upholds{f.Parked(), f.FailingTopics(), sp.Paused()})
	left.Ending = uint64(transactions.Ending)
	return left, true
}

// upholds are the topics that are parked with a status, fail with an error, or are
// paused.
type upholds struct {
	parked, failing map[string]string
	paused          map[string]time.Time
}

// leftOf counts by topic. Of what is kept back the topics are named.
func leftOf(led spool.Ledger, keptBack map[string]spool.Kept, by upholds) (left admin.Left) {
	left.Topics = []admin.TopicLeft{}
	for topic, c := range led.Topics {
		n := c.InSpool
		waiting := n.Pending + n.InFlight + n.Retrying
		kept := keptBack[topic]
		held := min(kept.Messages, waiting) + kept.Copies
		one := admin.LeftCounts{Waiting: waiting + c.Resending - held, Delayed: n.Delayed, Half: n.Half, Held: held, Dead: n.Dead}
		if one == (admin.LeftCounts{}) {
			continue
		}
		left.Add(one)
		left.Topics = append(left.Topics, admin.TopicLeft{Topic: topic, LeftCounts: one, Why: by.why(topic, one)})
	}
	slices.SortFunc(left.Topics, func(a, b admin.TopicLeft) int {
		return cmp.Or(cmp.Compare(b.All(), a.All()), strings.Compare(a.Topic, b.Topic))
	})
	if more := len(left.Topics) - leftMost; more > 0 {
		left.Topics, left.MoreTopics = left.Topics[:leftMost], more
	}
	return left
}

func (by *upholds) isPaused(topic string) bool { return !by.paused[topic].IsZero() }

// why says in words what messages of a topic wait for.
func (by *upholds) why(topic string, n admin.LeftCounts) string {
	parked, failing := by.parked[topic], by.failing[topic]
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
	if by.isPaused(topic) {
		add(n.Held, "the topic is paused")
	} else {
		add(n.Held, "on hold, or behind that or a dead letter")
	}
	add(n.Delayed, "not due")
	add(n.Half, "not decided")
	add(n.Dead, "dead letters")
	return strings.Join(all, "; ")
}
