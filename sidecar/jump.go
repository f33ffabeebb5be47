package sidecar

import (
	"time"

	"github.com/remora-mq/remora/broker"
)

// Jump is a place of a subscription's group that the broker did not have.
type Jump struct {
	At    time.Time `json:"at"`
	Topic string    `json:"topic"`
	Queue string    `json:"queue"`
	From  int64     `json:"from"` // the offset that was asked for
}

// noteJump says that the group is not where it was: what the sidecar holds on to was
// never here.
func (s *Sidecar) noteJump(one *subscription, found broker.Jump) {
	one.jump.Store(&Jump{time.Now().UTC().Truncate(time.Millisecond), found.Topic, found.Queue, found.From})
	one.metrics.Jumped(one.config.Name)
	s.log.Error("broker has nothing at the group's place in a queue, and moves it: messages that it deleted before they were consumed, or lost, are passed over; compare ledgers (sidecar ledger --compare) to see which",
		"subscription", one.config.Name, "group", one.config.Group, "topic", found.Topic, "queue", found.Queue, "from_offset", found.From)
}
