package spool

import (
	"context"
	"fmt"
)

// Space watches the volume that the spool lies on. Its methods do not block on
// anything but the file system's own counters.
type Space interface {
	// Look asks the volume anew. The committer calls it before each commit that
	// accepts messages.
	Look()
	// Refuse returns ErrDiskLow or ErrFull, wrapped with what an operator has to
	// know, when the volume or the directory has no room for more bytes of
	// messages; nil: they may come. It is called with the spool's lock held.
	Refuse(bytes int64) error
	// Spare says why there is no room for what the spool writes of its own, as
	// moves of delayed messages; nil: there is. It asks the volume anew.
	Spare() error
	// Wrote tells how many bytes a commit has written.
	Wrote(bytes int)
}

// roomToSpare is ErrDiskLow, with what Spare says.
func (s *Spool) roomToSpare() error {
	if err := s.opts.Space.Spare(); err != nil {
		return fmt.Errorf("%w: %w", ErrDiskLow, err)
	}
	return nil
}

type unbounded struct{}

func (unbounded) Look()              {}
func (unbounded) Refuse(int64) error { return nil }
func (unbounded) Spare() error       { return nil }
func (unbounded) Wrote(int)          {}

// lowWater is the part of the limit down to which a full spool has to go before
// it takes messages again. Else it would take one for each that leaves.
const lowWater = 0.9

// admit refuses what the spool has no room for. What is stored already needs no
// room: its caller has to hear of it.
func (s *Spool) admit(ctx context.Context, op *appendMessages) error {
	err := s.lockKnowing(ctx, op)
	defer s.mu.Unlock()
	if err != nil {
		return err
	}
	size := s.sizeOfNew(op)
	if size == 0 {
		return nil
	}
	if err := s.opts.Space.Refuse(size); err != nil {
		return err
	}
	if err := s.refuseFull(size); err != nil {
		return err
	}
	return s.refuseTopics(op)
}

// sizeOfNew is how many bytes of op are not known by their dedupe key, and notes
// which those are. s.mu is held.
func (s *Spool) sizeOfNew(op *appendMessages) (size int64) {
	for _, n := range op.added {
		if n.find(s); n.earlier.seq == 0 {
			size += int64(n.size)
		}
	}
	return size
}

// refuseFull holds the high-water mark, and the low one after it was reached. A
// message that would fit, were it smaller, does not close the spool for others.
func (s *Spool) refuseFull(size int64) error {
	low := int64(lowWater * float64(s.opts.Limit))
	s.full = s.full && s.held > low
	over := s.held+size > s.opts.Limit
	if !s.full && !over {
		return nil
	}
	s.full = s.held > low
	return fmt.Errorf("%w: %d of %d bytes are held; raise spool.limit, or wait until the broker has taken some", ErrFull, s.held, s.opts.Limit)
}

// neverFits tells a unit that waiting does not help from one that it may.
func (s *Spool) neverFits(ctx context.Context, op *appendMessages) error {
	share := s.share()
	if op.bytes() <= min(share, s.opts.Limit) { // nearly always: then nobody's keys matter
		return nil
	}
	err := s.lockKnowing(ctx, op)
	defer s.mu.Unlock()
	if err != nil {
		return err
	}
	if op.sought(&s.keys, nil) != nil { // not read: what may be stored is not called too large
		return nil
	}
	size := s.sizeOfNew(op)
	if size > s.opts.Limit {
		return &TooLargeError{"what the spool may hold (spool.limit)", size, s.opts.Limit}
	}
	sizes := map[string]int64{}
	for _, n := range op.added {
		topic := n.msg.Topic
		if n.earlier.seq > 0 {
			continue
		}
		if sizes[topic] += int64(n.size); sizes[topic] > share {
			return &TooLargeError{"what one topic may hold (spool.topic_share)", sizes[topic], share}
		}
	}
	return nil
}

// share is how many bytes a topic may hold.
func (s *Spool) share() int64 { return int64(s.opts.TopicShare * float64(s.opts.Limit)) }

// refuseTopics holds each topic of op to its share, after sizeOfNew.
func (s *Spool) refuseTopics(op *appendMessages) error {
	if s.opts.TopicShare >= 1 {
		return nil
	}
	share, sizes := s.share(), map[string]int64{}
	for _, n := range op.added {
		if n.earlier.seq > 0 {
			continue
		}
		topic := n.msg.Topic
		sizes[topic] += int64(n.size)
		held := int64(0)
		if l := s.lanes[topic]; l != nil {
			held = int64(l.counts.bytes)
		}
		if held+sizes[topic] > share {
			return &TopicFullError{Topic: topic, Held: held, Share: share}
		}
	}
	return nil
}

// Full reports whether messages are refused because of what is held.
func (s *Spool) Full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full && s.held > int64(lowWater*float64(s.opts.Limit))
}
