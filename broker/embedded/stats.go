package embedded

import (
	"fmt"

	"github.com/remora-mq/remora/message"
)

// Stats are the broker's counts. All that does not say otherwise survives a
// restart.
type Stats struct {
	Topics     map[string]TopicStats // retry and dead-letter topics too
	Groups     map[string]GroupStats
	Delayed    int // given back, and waiting for their time
	Unreadable int // since open: messages that the storage destroyed
}

// TopicStats count what one topic holds.
type TopicStats struct {
	Queues  int
	Stored  int64 // durable copies, since the topic was made
	Repeats int64 // of those, the ones whose message ID was stored before
	Kept    int64 // not yet removed by the retention
	Bytes   int64 // kept
}

// GroupStats count one group's work over its topics, the retry topic included.
type GroupStats struct {
	Delivered int64 // since open; repeats count again
	Acked     int64 // copies; what a crash makes come again is counted once
	SentBack  int64 // since open; each is acked as well, and comes again as another copy
	Lag       int64 // durable copies not acked, in flight ones included
	InFlight  int64
}

// RetryTopic is the topic that holds what a group gave back.
func RetryTopic(group string) string { return retryPrefix + group }

// DeadLetterTopic is the topic that holds a group's dead letters.
func DeadLetterTopic(group string) string { return deadPrefix + group }

// Stats returns the counts of this moment.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stats{
		Topics: map[string]TopicStats{}, Groups: map[string]GroupStats{},
		Delayed: len(b.catalog.schedule.waiting) + b.catalog.schedule.moving, Unreadable: len(b.unreadable),
	}
	for name, t := range b.catalog.topics {
		s.Topics[name] = TopicStats{
			Queues: len(t.queues), Stored: t.stored(), Repeats: t.repeats, Kept: t.kept(), Bytes: t.bytes,
		}
	}
	for name, g := range b.catalog.groups {
		s.Groups[name] = g.stats()
	}
	return s
}

func (g *group) stats() GroupStats {
	s := GroupStats{Delivered: g.delivered, SentBack: g.sentBack}
	for _, t := range g.tracks {
		for _, l := range t.lanes {
			s.Acked += l.ackedSoFar()
			s.Lag += l.lag()
			s.InFlight += l.inFlight()
		}
	}
	return s
}

// Copies returns how many copies of a message producers have stored and the
// retention has not removed: 1 if the broker was asked once.
func (b *Broker) Copies(id message.ID) (int, error) {
	n, err := readCount(b.db, copiesKey(id))
	if err != nil {
		return 0, fmt.Errorf("count copies of message %s: %w", id, err)
	}
	return int(n), nil
}
