package sidecar

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/spool"
)

// What is left is told by topic, with why, those with most messages first.
func TestLeftIsToldByTopic(t *testing.T) {
	led := spool.Ledger{Topics: map[string]spool.Counts{
		"none":    {Accepted: 5, Confirmed: 5},
		"parked":  {InSpool: spool.InSpool{Pending: 3, Retrying: 1}},
		"failing": {InSpool: spool.InSpool{InFlight: 2}},
		"going":   {InSpool: spool.InSpool{Pending: 1}, Resending: 4},
		"kept":    {InSpool: spool.InSpool{Pending: 6, Delayed: 1, Half: 2, Dead: 3}},
		"paused":  {InSpool: spool.InSpool{Pending: 1, InFlight: 1}, Resending: 5},
	}}
	left := leftOf(led, map[string]spool.Kept{"kept": {Messages: 6}, "paused": {Messages: 1, Copies: 3}},
		upholds{map[string]string{"parked": "NO_PERMISSION"}, map[string]string{"failing": "no route"}, map[string]time.Time{"paused": time.Now()}})
	want := []admin.TopicLeft{
		{Topic: "kept", LeftCounts: admin.LeftCounts{Delayed: 1, Half: 2, Held: 6, Dead: 3}, Why: "on hold, or behind that or a dead letter; not due; not decided; dead letters"},
		{Topic: "paused", LeftCounts: admin.LeftCounts{Waiting: 3, Held: 4}, Why: "on its way; the topic is paused"},
		{Topic: "going", LeftCounts: admin.LeftCounts{Waiting: 5}, Why: "on its way"},
		{Topic: "parked", LeftCounts: admin.LeftCounts{Waiting: 4}, Why: "parked: NO_PERMISSION"},
		{Topic: "failing", LeftCounts: admin.LeftCounts{Waiting: 2}, Why: "failing: no route"},
	}
	if !slices.Equal(left.Topics, want) || left.MoreTopics != 0 {
		t.Errorf("told\n%+v, want\n%+v", left.Topics, want)
	}
	if sum := (admin.LeftCounts{Waiting: 14, Delayed: 1, Half: 2, Held: 10, Dead: 3}); left.LeftCounts != sum {
		t.Errorf("in all %+v, want %+v", left.LeftCounts, sum)
	}
}

func TestLeftIsBounded(t *testing.T) {
	led := spool.Ledger{Topics: map[string]spool.Counts{}}
	for i := range leftMost + 7 {
		led.Topics[fmt.Sprint(i)] = spool.Counts{InSpool: spool.InSpool{Pending: 1}}
	}
	if left := leftOf(led, nil, upholds{}); len(left.Topics) != leftMost || left.MoreTopics != 7 || left.Waiting != leftMost+7 {
		t.Errorf("%d topics, %d more, %d messages", len(left.Topics), left.MoreTopics, left.Waiting)
	}
}
