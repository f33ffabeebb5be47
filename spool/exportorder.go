package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// inOrder writes what a query asks for of all that is not delayed, by sequence: dead
// letters and those that were redriven, which have entries of their own, at their places
// between what is in blocks. So where it is taken in a message waits for the same ones
// of its ordering key as here.
//
// Of each stretch of sequences the blocks are read first. What is not seen in them
// because it is a dead letter is one afterwards, unless it has ended.
func (e *exporter) inOrder(ctx context.Context, q Query) error {
	q.Limit = maxPage
	for from := uint64(0); from < q.upTo; {
		l := &lister{ctx: ctx, s: e.s, q: q, at: position{part: listWaiting, seq: from}, left: pageBytes}
		upTo := q.upTo
		if l.wants(listWaiting) {
			done, err := l.walk(l.walkBlocks)
			if err != nil {
				return err
			}
			if !done {
				upTo = l.at.seq
			}
		}
		if err := e.stretch(l, from, upTo); err != nil {
			return err
		}
		e.done.Unreadable += l.page.Unreadable
		from = upTo
	}
	return nil
}

// stretch writes the messages behind from and up to upTo: those of the page that l has,
// and those whose records are in entries of dead letters.
func (e *exporter) stretch(l *lister, from, upTo uint64) error {
	p := paged{e, l.page.Items}
	if slices.ContainsFunc(p.items, func(i Item) bool { return i.State == message.StateDead }) { // what it has to say is on its way to the disk
		if err := l.wait(); err != nil {
			return err
		}
	}
	if l.wants(listDead) {
		err := l.s.eachApart(from, upTo, func(seq uint64, of *lane) error {
			if l.q.Topic != "" && of.topic != l.q.Topic {
				return nil
			}
			return p.letter(l, seq, of)
		})
		if err != nil {
			return err
		}
	}
	return p.before(upTo + 1)
}

// paged are the messages of a page that are not yet written.
type paged struct {
	e     *exporter
	items []Item
}

// before writes those below seq.
func (p *paged) before(seq uint64) error {
	for len(p.items) > 0 && p.items[0].Message.Seq < seq {
		if err := p.e.message(&p.items[0]); err != nil {
			return err
		}
		p.items = p.items[1:]
	}
	return nil
}

// letter writes a message whose record is in the entry of a dead letter, and those before
// it. One that is in the page, too, has become a dead letter since that was read, and is
// that.
func (p *paged) letter(l *lister, seq uint64, of *lane) error {
	if err := p.before(seq); err != nil {
		return err
	}
	item, err := l.letter(of, seq)
	if item == nil || err != nil {
		return err
	}
	if len(p.items) > 0 && p.items[0].Message.Seq == seq {
		p.items = p.items[1:]
	}
	return p.e.message(item)
}

// letter reads a message whose record is in the entry of a dead letter; nil: it is not
// asked for, has ended, or cannot be read.
func (l *lister) letter(of *lane, seq uint64) (*Item, error) {
	l.page.Items = nil
	d, err := l.s.readLetter(of, seq)
	if errors.Is(err, kv.ErrNotFound) && l.s.isApart(seq) {
		if l.s.isSettling(seq) || !l.waited { // its entry may be on its way to the disk
			if err := l.wait(); err != nil {
				return nil, err
			}
		}
		d, err = l.s.readLetter(of, seq)
	}
	switch {
	case err == nil && l.q.fitsHead(&d.record.Message):
		l.takeApart(&d)
	case err == nil:
	case l.ctx.Err() != nil || l.s.db.Err() != nil || l.s.closed():
		return nil, err
	case l.s.isApart(seq):
		l.page.Unreadable++
	}
	if len(l.page.Items) == 0 {
		return nil, l.ctx.Err()
	}
	return &l.page.Items[0], nil
}

// wait returns when all that is announced, or applied, can be read.
func (l *lister) wait() error {
	l.waited = true
	return l.s.commit(l.ctx, &flush{})
}

// eachApart calls fn with the sequences behind from and up to upTo whose records are in
// entries of dead letters, in order. It holds the lock for one bitmap at a time.
func (s *Spool) eachApart(from, upTo uint64, fn func(seq uint64, of *lane) error) error {
	type apart struct {
		seq uint64
		of  *lane
	}
	var some []apart
	for from < upTo {
		some = some[:0]
		s.mu.Lock()
		if len(s.dead)+len(s.redriven) == 0 {
			s.mu.Unlock()
			return nil
		}
		if low := s.settled.low << bitmapShift; low > 0 { // the first that may not be settled
			from = max(from, low-1)
		}
		last := min(upTo, (from+1)|(1<<bitmapShift-1))
		if _, all := s.settled.allSettled(from + 1); !all {
			for seq := from + 1; seq <= last; seq++ {
				if of := s.laneApart(seq); of != nil {
					some = append(some, apart{seq, of})
				}
			}
		}
		s.mu.Unlock()
		for _, a := range some {
			if err := fn(a.seq, a.of); err != nil {
				return err
			}
		}
		from = last
	}
	return nil
}

// laneApart is the lane of a message whose record is in the entry of a dead letter; nil:
// it is not. s.mu is held.
func (s *Spool) laneApart(seq uint64) *lane {
	if s.settled.has(seq) {
		return nil
	}
	if rd := s.redriven[seq]; rd != nil {
		return rd.lane
	}
	return s.dead[seq]
}

func (s *Spool) isApart(seq uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.laneApart(seq) != nil
}

// message writes the line of one.
func (e *exporter) message(item *Item) error {
	x := exportedOf(item, e.keys.of(item.Message.Seq), e.s.now())
	if x.State == message.StateDead && e.version < exportVersion { // it has become one since the header was written
		x.DeliverAt = nil
	}
	e.done.Messages++
	if err := e.add("message", &x); err != nil {
		return fmt.Errorf("message %s: %w", x.ID, err)
	}
	return nil
}
