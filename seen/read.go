package seen

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Known tells of a stream.
type Known struct {
	Group, Topic string
	Since        time.Time // notes are made since then
	UnsureAt     time.Time // notes from before may be missing; zero: none is
	Lazy         bool      // a crash makes it unsure
	Origins      []Origin
}

// Origin tells of the numbers of one origin.
type Origin struct {
	ID        message.SpoolID
	Forgotten uint64 // of numbers up to here nothing is known any more
	Last      uint64 // the highest that is known
	Handled   uint64
	Dead      uint64 // dead letters of the group
	Repeats   uint64 // deliveries of what was handled before
}

// Range is numbers from First to Last.
type Range struct{ First, Last uint64 }

// Page is some of the numbers of an origin.
type Page struct {
	Handled, Dead []Range
	// Next is where to go on; 0: nothing is known above.
	Next uint64
}

var (
	// ErrUnknown reports a stream that nobody notes for.
	ErrUnknown = errors.New("no such group and topic is consumed here")
	// ErrClosed reports a database that is closed, or whose storage has failed.
	ErrClosed = errors.New("the notes of handled messages are closed")
)

// pageBlocks bounds what one call reads.
const pageBlocks = 256

// Streams tells of all streams, in the order in which they began. All notes that
// were made before are in it.
func (s *Store) Streams(ctx context.Context) ([]Known, error) {
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	all := make([]Known, len(s.streams))
	ids := make([]uint32, len(s.streams))
	for i, st := range s.streams {
		ids[i] = st.id
		all[i] = Known{Group: st.group, Topic: st.topic, Since: st.since, Lazy: st.lazy}
		for _, origin := range s.originsOf(st.id) {
			all[i].Origins = append(all[i].Origins, Origin{ID: origin, Forgotten: s.places[place{st.id, origin}].forgotten})
		}
	}
	s.mu.Unlock()
	for i := range all {
		for j := range all[i].Origins {
			o := &all[i].Origins[j]
			if err := s.sum(ctx, place{ids[i], o.ID}, o); err != nil {
				return nil, err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, st := range s.streams[:len(all)] { // streams never go, and damage may have been found just now
		all[i].UnsureAt = st.unsure
	}
	return all, nil
}

// flush has all notes written that were made before.
func (s *Store) flush(ctx context.Context) error {
	err := s.queue.Commit(ctx, &op{}, opSize)
	if errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrFenced) {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	if err != nil {
		return fmt.Errorf("read the notes of handled messages: %w", err)
	}
	return nil
}

func (s *Store) sum(ctx context.Context, p place, o *Origin) error {
	return s.scan(ctx, p, 0, func(a address, b *block) bool {
		o.Handled += uint64(b.handled.count())
		o.Dead += uint64(b.dead.count())
		o.Repeats += b.repeats
		for i := range uint(perBlock) {
			if b.handled.has(i) || b.dead.has(i) {
				o.Last = a.first() + uint64(i)
			}
		}
		return true
	})
}

// Numbers returns which numbers of an origin were handled, from one on (1: the
// first). It reads a bounded amount: Next tells where to go on.
func (s *Store) Numbers(ctx context.Context, group, topic string, origin message.SpoolID, from uint64) (Page, error) {
	if err := s.flush(ctx); err != nil {
		return Page{}, err
	}
	s.mu.Lock()
	st := s.find(group, topic)
	s.mu.Unlock()
	if st == nil {
		return Page{}, ErrUnknown
	}
	from = max(from, 1)
	start, _ := place{st.id, origin}.of(from)
	var page Page
	left := pageBlocks
	err := s.scan(ctx, start.place, start.block, func(a address, b *block) bool {
		if left == 0 {
			page.Next = a.first()
			return false
		}
		left--
		page.Handled = b.handled.append(page.Handled, a, from)
		page.Dead = b.dead.append(page.Dead, a, from)
		return true
	})
	return page, err
}

// scan visits the blocks of a place from one on. One that is damaged has nothing.
func (s *Store) scan(ctx context.Context, p place, from uint64, visit func(a address, b *block) bool) error {
	return s.db.Scan(kv.Scan{Prefix: p.key(blockPrefix), From: address{p, from}.key()}, func(k, v []byte) (bool, error) {
		a, ok := readAddress(k)
		if !ok {
			return true, nil
		}
		b, err := decodeBlock(v)
		if err != nil {
			s.doubtOf(p.stream)
			return true, ctx.Err()
		}
		return visit(a, b), ctx.Err()
	})
}

func (s *Store) doubtOf(stream uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		if st.id == stream {
			st.doubt(s.o.Now())
		}
	}
}

// append adds the numbers that are set, from one on, and joins neighbours.
func (m *bitmap) append(all []Range, a address, from uint64) []Range {
	for i := range uint(perBlock) {
		n := a.first() + uint64(i)
		if !m.has(i) || n < from {
			continue
		}
		if k := len(all); k > 0 && all[k-1].Last+1 == n {
			all[k-1].Last = n
		} else {
			all = append(all, Range{n, n})
		}
	}
	return all
}
