package broker

import (
	"context"
	"errors"
	"time"
)

// ErrMembers reports that the group has members, whose progress would overwrite what is set.
var ErrMembers = errors.New("the group has members")

// Seeker is what a Consumer is, too, that can tell where its group is, and set that.
// Methods may be called from many goroutines, before Consume and while it runs.
type Seeker interface {
	// Places tells where the group is in each queue of the topic, in their order, and
	// where the first message is that was stored at a time or later. No queue: the
	// topic is not there.
	Places(ctx context.Context, at time.Time) ([]Place, error)
	// Members names the consumers of the group that others have; none: at most this
	// process has any. One that has just gone may be named still.
	Members(ctx context.Context) ([]string, error)
	// Seek sets the group's place in each queue to To. It changes nothing while the
	// group has a member, also one of this process: ErrMembers. After another error, as
	// that one has joined meanwhile, some queues may be set. What the group has sent back
	// comes all the same.
	Seek(ctx context.Context, to []Seek) error
}

// Place is where a group is in a queue. Offsets count all messages, also those
// that the subscription filters out.
type Place struct {
	Queue string
	First int64 // the oldest message that is kept
	Next  int64 // the first one that is not acked; -1: the group has never been here
	At    int64 // the first one stored at the time asked for or later
	End   int64 // behind the last one
}

// Seek is a place to be set.
type Seek struct {
	Queue string
	To    int64
}

// Start is where a group begins in the queues of its topic. Messages are counted
// as in Place.
type Start struct {
	New     bool  // the group was in none of the queues before
	Skipped int64 // messages that are kept, and before its start: of queues that are new to it
	Waiting int64 // messages from there on
	Old     int64 // of those, stored before OldAt
	OldAt   time.Time
}

// OldAfter is how long ago a message was stored that counts as old in a Start.
const OldAfter = 24 * time.Hour

// StartOf sums places up. A queue in which the group has never been begins where
// from says, at the offset that startAt tells. It has never been in a topic that has no
// queue yet.
func StartOf(places []Place, oldAt time.Time, startAt func(queue int, p Place) int64) Start {
	s := Start{New: true, OldAt: oldAt}
	for i, p := range places {
		next := max(p.Next, p.First)
		if p.Next < 0 {
			next = startAt(i, p)
			s.Skipped += max(next-p.First, 0)
		} else {
			s.New = false
		}
		s.Waiting += max(p.End-next, 0)
		s.Old += max(min(p.At, p.End)-next, 0)
	}
	return s
}
