package sidecar

import (
	"fmt"
	"time"

	"github.com/remora-mq/remora/broker"
)

// farBehind is how many messages that wait are told as a warning.
const farBehind = 10_000

// Start is where a subscription's group began when the sidecar joined it. Messages
// are counted before the filter.
type Start struct {
	At            time.Time `json:"at"`
	GroupIsNew    bool      `json:"group_is_new"`    // it had never been in the topic: from says where it began
	From          string    `json:"from"`            // as configured
	Skipped       int64     `json:"skipped"`         // kept by the broker, and before the start of a new group
	Waiting       int64     `json:"waiting"`         // from there on
	WaitingForDay int64     `json:"waiting_for_day"` // of those, stored more than a day before
}

// noteStart says where a group begins: loudly, when that skips messages, or is far
// behind.
func (s *Sidecar) noteStart(one *subscription, found broker.Start) {
	start := Start{
		At: time.Now().UTC().Truncate(time.Millisecond), GroupIsNew: found.New, From: one.config.From,
		Skipped: found.Skipped, Waiting: found.Waiting, WaitingForDay: found.Old,
	}
	one.start.Store(&start)
	attrs := []any{
		"subscription", one.config.Name, "topic", one.config.Topic, "group", one.config.Group, "group_is_new", start.GroupIsNew,
		"skipped", start.Skipped, "waiting", start.Waiting, "waiting_for_day", start.WaitingForDay,
	}
	if start.GroupIsNew {
		attrs = append(attrs, "from", start.From)
	}
	switch why := start.warning(); {
	case why != "":
		s.log.Warn("subscription begins: "+why, attrs...)
	case start.GroupIsNew:
		s.log.Info("subscription begins with a new group", attrs...)
	default:
		s.log.Info("subscription goes on where its group was", attrs...)
	}
}

// warning is what is to be said of a start; "": nothing.
func (s Start) warning() string {
	switch {
	case s.Skipped > 0:
		return fmt.Sprintf("its group is new, and skips %d messages that are kept (from: %s)", s.Skipped, s.From)
	case s.Waiting > farBehind || s.WaitingForDay > 0:
		return fmt.Sprintf("it is far behind, %d messages wait, %d of them for more than a day", s.Waiting, s.WaitingForDay)
	}
	return ""
}
