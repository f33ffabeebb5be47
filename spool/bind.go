package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// maxQueues bounds the queues of one topic that keys are bound to.
const maxQueues = 4096

var errQueues = errors.New("a topic has 1 to 4096 queues")

// Bind spreads the ordering keys of a topic over queues, in their order. When it
// returns nil that is on stable storage, for all messages that become pending
// from then on, and for all that there are if it is the first time. A key with
// messages that are not settled keeps the queue that it has until it has none;
// after a restart, until those that were pending before the change are settled.
// Leases name the queue, and there is one at a time for each.
//
// A topic has one caller of Bind, Unmove and Move. Queues that are known already
// cost no write. A topic keeps 8 spreads that messages are under, or as many as an
// entry has room for; of one more only the keys in memory keep theirs.
// Errors: ErrNotFound of a topic that is not known; ErrTooLarge of queues whose names
// take more than an entry has room for; those of a commit.
func (s *Spool) Bind(ctx context.Context, topic string, queues []string) error {
	return s.bind(ctx, topic, queues, func(b *bindings) bool {
		return !slices.Equal(b.newest(), queues) || b.layouts[len(b.layouts)-1].moved() && !b.renewed
	})
}

// Unmove spreads the keys of a topic over its queues as they were told to Bind,
// also over those that Move took keys from: as Bind does, and for the same keys.
func (s *Spool) Unmove(ctx context.Context, topic string) error {
	s.mu.Lock()
	l := s.lanes[topic]
	if l == nil || len(l.bound.layouts) == 0 {
		s.mu.Unlock()
		return nil
	}
	queues := l.bound.newest()
	s.mu.Unlock()
	return s.bind(ctx, topic, queues, func(b *bindings) bool { return b.layouts[len(b.layouts)-1].moved() })
}

// newest are the queues that were told last.
func (b *bindings) newest() []string {
	if len(b.layouts) == 0 {
		return nil
	}
	return b.layouts[len(b.layouts)-1].names
}

func (s *Spool) bind(ctx context.Context, topic string, queues []string, changes func(*bindings) bool) error {
	if len(queues) == 0 || len(queues) > maxQueues {
		return fmt.Errorf("bind topic %s to %d queues: %w", topic, len(queues), errQueues)
	}
	s.mu.Lock()
	l := s.lanes[topic]
	if l == nil {
		s.mu.Unlock()
		return ErrNotFound
	}
	op := &bindKeys{lane: l, queues: queues, room: l.bound.bytes(), most: s.sizes.bindings}
	same := !changes(&l.bound)
	l.bound.renewed = l.bound.renewed || same
	s.mu.Unlock()
	if same {
		return nil
	}
	if err := s.tooManyNames(newLayout(0, queues).bytes()); err != nil {
		return fmt.Errorf("bind topic %s to %d queues: %w", topic, len(queues), err)
	}
	if err := s.commit(ctx, op); err != nil {
		return fmt.Errorf("bind topic %s to queues: %w", topic, err)
	}
	return nil
}

// tooManyNames refuses a layout that has no room in its entry by itself.
func (s *Spool) tooManyNames(bytes int) error {
	if most := s.sizes.bindings; bytes > most {
		return &TooLargeError{"the names of a topic's queues; give it fewer queues, or its brokers shorter names", int64(bytes), int64(most)}
	}
	return nil
}

// bindKeys makes queues the newest layout of a topic.
type bindKeys struct {
	lane   *lane
	queues []string
	room   int // what the entry takes, in bytes, before
	most   int // that it may take
}

func (op *bindKeys) size() int {
	return fixedSize + valueOverhead + min(op.most, op.room+newLayout(0, op.queues).bytes())
}

// bytes bounds what the entry takes. A topic has one caller of Bind and Move, so
// it is still so when an operation is applied.
func (b *bindings) bytes() (sum int) {
	for _, y := range b.layouts {
		sum += y.bytes()
	}
	return sum
}

func (y *layout) bytes() int {
	const numbers, lengths = 16, 4
	size := numbers
	for i := range y.names {
		size += len(y.names[i]) + len(y.queues[i]) + lengths
	}
	return size
}

func (op *bindKeys) apply(c *commit) {
	l, high := op.lane, c.s.head.highWater
	b := &l.bound
	b.trim(l.cursor, l.counts.waiting() == 0)
	n := len(b.layouts)
	switch {
	case n == 0:
		b.layouts = []*layout{newLayout(0, op.queues)}
	case l.counts.waiting() == 0 || l.lastSeq <= b.layouts[n-1].above || n == maxLayouts: // nothing is under the newest, mostly
		b.startChains(l)
		b.layouts[n-1] = newLayout(b.layouts[n-1].above, op.queues)
	default:
		b.startChains(l)
		b.layouts = append(b.layouts, newLayout(high, op.queues))
	}
	b.fit(op.most)
	b.renewed = true
	c.sets = append(c.sets, pair{bindKey(l.id), b.encode()})
}

// fit forgets the oldest layouts until the entry takes no more than it may. What was
// attempted is in memory, and its keys keep their queues.
func (b *bindings) fit(most int) {
	for len(b.layouts) > 1 && b.bytes() > most {
		b.layouts = b.layouts[1:]
	}
}

// startChains binds the keys that have messages in memory to what they have.
func (b *bindings) startChains(l *lane) {
	if b.chains != nil {
		return
	}
	b.chains = map[string]*chain{}
	for _, w := range []*window{&l.copies.window, &l.window} {
		w.each(b.enter)
	}
}

func (op *bindKeys) synced(s *Spool) { op.lane.rebound() }

// rebound lets what is ready know its queue. s.mu is held.
func (l *lane) rebound() {
	l.window.requeue()
	l.copies.window.requeue()
	l.ready.raise()
}

// Move sends all that is bound to one queue of a topic to another, in the order
// that it has: for a queue that is gone, or fails for long. When it returns nil
// that is on stable storage; a crash before leaves it as it was. The caller knows
// that no attempt is made at the queue, nor can be any more.
func (s *Spool) Move(ctx context.Context, topic, from, to string) error {
	s.mu.Lock()
	l := s.lanes[topic]
	if l == nil {
		s.mu.Unlock()
		return ErrNotFound
	}
	op := &moveKeys{l, from, to, l.bound.bytes() + l.bound.slots()*len(to), s.sizes.bindings}
	newest := l.bound.newestMoved(from, to)
	s.mu.Unlock()
	if err := s.tooManyNames(newest); err != nil {
		return fmt.Errorf("move the keys of queue %s of topic %s: %w", from, topic, err)
	}
	if err := s.commit(ctx, op); err != nil {
		return fmt.Errorf("move the keys of queue %s of topic %s: %w", from, topic, err)
	}
	return nil
}

type moveKeys struct {
	lane     *lane
	from, to string
	room     int // what the entry takes at most, in bytes
	most     int // that it may take
}

func (op *moveKeys) size() int { return fixedSize + valueOverhead + min(op.most, op.room) }

// newestMoved bounds what the newest layout takes when keys were moved.
func (b *bindings) newestMoved(from, to string) (size int) {
	if len(b.layouts) == 0 {
		return 0
	}
	y := b.layouts[len(b.layouts)-1]
	size = y.bytes()
	for _, q := range y.queues {
		if q == from {
			size += len(to) - len(from)
		}
	}
	return size
}

// slots counts the queues of all layouts.
func (b *bindings) slots() (n int) {
	for _, y := range b.layouts {
		n += len(y.names)
	}
	return n
}

func (op *moveKeys) apply(c *commit) {
	b := &op.lane.bound
	if b.move(op.from, op.to) {
		b.fit(op.most)
		c.sets = append(c.sets, pair{bindKey(op.lane.id), b.encode()})
	}
}

func (op *moveKeys) synced(*Spool) { op.lane.rebound() }
