package embedded

import (
	"errors"
	"fmt"
	"slices"

	"github.com/remora-mq/remora/broker"
)

// maxSpan bounds how far deliveries run ahead of the lowest un-acked offset of
// a queue: RocketMQ's ConsumeConcurrentlyMaxSpan, 1000 too.
const maxSpan = 1000

// maxInHand bounds the messages of a queue in the hands of consumers, unless their
// concurrency is larger: as many as the RocketMQ client fetches.
const maxInHand = 40

// group is the consumers that share a subscription, and their progress.
type group struct {
	name   string
	tracks map[string]*track // by topic: what it consumes or once consumed, and its retry topic

	members int // running calls of Consume
	topic   string
	tags    []string // sorted; empty: all
	ordered bool
	turn    int
	wake    chan struct{} // closed and replaced when there may be something to take

	delivered int64 // since open
	sentBack  int64 // since open
}

// track is a group's progress in one topic.
type track struct {
	group, topic string
	lanes        []*lane // by queue
	inHand       int64   // most messages of a queue in the hands of consumers, or that wait for their turn
	ordered      bool
}

// lane is a group's progress in one queue. Offsets below low are done with;
// those from low to next are in the hands of consumers, in again or in done.
type lane struct {
	track     *track
	queue     int
	name      string // of the queue
	source    *queue // nil until the topic exists
	low, next int64
	again     []int64        // given up by a consumer, to be taken first
	done      map[int64]bool // above low; true: acked, false: not wanted
	acked     int64          // below low
	turns     *turns         // nil: the subscription is not ordered
	ahead     ahead          // has a lock of its own
}

var errOtherSubscription = errors.New("group is subscribed otherwise")

// join makes the caller a member, if its subscription is that of the others:
// RocketMQ lets them differ, and then each loses what the other filters out.
func (g *group) join(sub broker.Subscription) error {
	tags := slices.Sorted(slices.Values(sub.Tags))
	if g.members > 0 && (g.topic != sub.Topic || !slices.Equal(g.tags, tags) || g.ordered != sub.Ordered) {
		return fmt.Errorf("%w: group %s consumes topic %s with tags %q, ordered: %t; give subscription %s a group of its own",
			errOtherSubscription, g.name, g.topic, g.tags, g.ordered, sub.Name)
	}
	g.members++
	g.topic, g.tags, g.ordered = sub.Topic, tags, sub.Ordered
	for _, t := range g.tracks {
		t.inHand = max(t.inHand, maxInHand, int64(sub.Concurrency))
		t.ordered = sub.Ordered && t.topic == sub.Topic // what was sent back has lost its place
		if t.ordered {
			t.inHand = maxSpan // messages of other keys pass those that wait
		}
		t.line()
	}
	return nil
}

// line makes the lanes keep the order of keys, or not.
func (t *track) line() {
	for _, l := range t.lanes {
		switch {
		case !t.ordered:
			l.turns = nil
		case l.turns == nil:
			l.turns = newTurns()
		}
	}
}

// leave ends a membership. The last one takes its memory along: all that is
// above low comes again, as from RocketMQ.
func (g *group) leave() {
	if g.members--; g.members > 0 {
		return
	}
	for _, t := range g.tracks {
		for _, l := range t.lanes {
			l.next, l.again, l.done, l.turns = l.low, nil, nil, nil
		}
	}
}

// notify wakes everyone who waits for a message of the group.
func (g *group) notify() {
	close(g.wake)
	g.wake = make(chan struct{})
}

// take returns the next offset to be delivered, from the queues in turn.
func (g *group) take() (*lane, int64, bool) {
	lanes := g.laneCount()
	for range lanes {
		g.turn = (g.turn + 1) % lanes
		l := g.lane(g.turn)
		if offset, ok := l.take(); ok {
			return l, offset, true
		}
	}
	return nil, 0, false
}

func (g *group) retryTopic() string { return retryPrefix + g.name }

func (g *group) laneCount() int {
	return len(g.tracks[g.topic].lanes) + len(g.tracks[g.retryTopic()].lanes)
}

func (g *group) lane(i int) *lane {
	main := g.tracks[g.topic].lanes
	if i < len(main) {
		return main[i]
	}
	return g.tracks[g.retryTopic()].lanes[i-len(main)]
}

// extend ties the lanes to the topic's queues and adds those that lack.
func (t *track) extend(to *topic) {
	for i, q := range to.queues {
		if i == len(t.lanes) {
			t.lanes = append(t.lanes, &lane{track: t, low: q.first, next: q.first})
		}
		t.lanes[i].queue, t.lanes[i].name, t.lanes[i].source = i, queueName(i), q
	}
	t.line()
}

// take returns the next offset to be read. Of an ordered subscription the one before
// has to be in line.
func (l *lane) take() (offset int64, ok bool) {
	if l.turns != nil && l.turns.reading {
		return 0, false
	}
	if offset, ok = l.choose(); ok && l.turns != nil {
		l.turns.reading = true
	}
	return offset, ok
}

func (l *lane) choose() (int64, bool) {
	if n := len(l.again); n > 0 {
		offset := l.again[n-1]
		l.again = l.again[:n-1]
		return offset, true
	}
	if l.source == nil || l.next >= l.source.visible || l.full() {
		return 0, false
	}
	l.next++
	return l.next - 1, true
}

// full reports whether the oldest un-acked message, or the number of those in
// hands, holds back later ones.
func (l *lane) full() bool { return l.next-l.low >= maxSpan || l.inFlight() >= l.track.inHand }

// release gives an offset back; the lowest is taken first.
func (l *lane) release(offset int64) {
	at, _ := slices.BinarySearchFunc(l.again, offset, func(a, b int64) int { return int(b - a) })
	l.again = slices.Insert(l.again, at, offset)
}

// finish takes note that an offset is done with and moves low over everything
// that is. It reports whether one that waited has its turn.
func (l *lane) finish(offset int64, acked bool) (turned bool) {
	if l.turns != nil {
		var next int64
		if next, turned = l.turns.pass(offset); turned {
			l.release(next)
		}
	}
	if l.done == nil {
		l.done = map[int64]bool{}
	}
	l.done[offset] = acked
	for {
		acked, ok := l.done[l.low]
		if !ok {
			return turned
		}
		delete(l.done, l.low)
		l.low++
		if acked {
			l.acked++
		}
	}
}

// ackedSoFar counts what lies above low too, which a crash forgets.
func (l *lane) ackedSoFar() int64 {
	n := l.acked
	for _, acked := range l.done {
		if acked {
			n++
		}
	}
	return n
}

// lag is the number of durable messages that are not done with.
func (l *lane) lag() int64 {
	if l.source == nil {
		return 0
	}
	return l.source.visible - l.low - int64(len(l.done))
}

// inFlight is the number of messages in the hands of consumers.
func (l *lane) inFlight() int64 {
	return l.next - l.low - int64(len(l.again)) - int64(len(l.done))
}
