package notes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

// Store keeps the notes of all groups.
type Store struct {
	db      *kv.DB
	queue   *kv.Queue[*op]
	keys    *keyring.Ring // nil: what is written is plain
	log     *slog.Logger
	damaged atomic.Uint64

	mu      sync.Mutex
	places  map[place]*progress // on disk
	reasons reasons

	at map[place]*progress // of the commit at work; the committer's
}

// place is a queue of a group's dead letters.
type place struct{ group, queue string }

// Open reads the notes of a database, which the caller closes after the last call.
// A database takes one store at a time. keys and log may be nil.
func Open(db *kv.DB, keys *keyring.Ring, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{db: db, keys: keys, log: log, places: map[place]*progress{}, reasons: newReasons()}
	older, err := s.load()
	if err != nil {
		return nil, fmt.Errorf("open notes of dead letters: %w", err)
	}
	s.queue = kv.Attach(db, s)
	for _, o := range older {
		s.queue.Post(o, o.size())
	}
	return s, nil
}

// Damaged is how many notes could not be read when the store was opened.
func (s *Store) Damaged() uint64 { return s.damaged.Load() }

// errTooFar: what is settled lies too far behind what is not.
var errTooFar = errors.New("more than 16,000,000 dead letters lie between the oldest that waits and this one: redrive or discard the oldest first")

// settleMost is how many offsets one commit takes.
const settleMost = 100

// Settle notes that an operator is done with dead letters of a queue. nil: all of
// that is on stable storage; else some of it may be.
func (s *Store) Settle(ctx context.Context, group, queue string, offsets []int64) error {
	p := place{group, queue}
	for len(offsets) > 0 {
		n := min(settleMost, len(offsets))
		o := &op{place: p, settle: offsets[:n]}
		if err := s.commit(ctx, o); err != nil {
			return fmt.Errorf("note what became of dead letters: %w", err)
		}
		offsets = offsets[n:]
	}
	return nil
}

// Look takes note of what the broker says of a queue, and returns what waits in it.
func (s *Store) Look(ctx context.Context, group string, q broker.DeadQueue) (Waiting, error) {
	p := place{group, q.Name}
	known := s.progress(p)
	if q.Next < known.seen {
		s.log.Warn("the topic of dead letters begins anew: all that is in it waits", "group", group, "queue", q.Name, "next", q.Next, "was", known.seen)
		if err := s.forget(ctx, p, q.Next); err != nil {
			return Waiting{}, err
		}
		known = s.progress(p)
	}
	low := q.First
	if q.Passed <= q.Next {
		low = max(low, q.Passed)
	}
	for low > known.low {
		o := &op{place: p, low: low, seen: q.Next}
		if err := s.commit(ctx, o); err != nil {
			return Waiting{}, fmt.Errorf("note how far dead letters are settled: %w", err)
		}
		if known = s.progress(p); !o.more {
			break
		}
	}
	return Waiting{known, max(low, known.low), q.Next}, nil
}

// forget drops all that is known of a queue.
func (s *Store) forget(ctx context.Context, p place, next int64) error {
	for more := true; more; {
		o := &op{place: p, reset: true, seen: next}
		if err := s.commit(ctx, o); err != nil {
			return fmt.Errorf("forget what became of dead letters: %w", err)
		}
		more = o.more
	}
	return nil
}

func (s *Store) commit(ctx context.Context, o *op) error {
	if err := s.queue.Commit(ctx, o, o.size()); err != nil {
		return err
	}
	return o.err
}

// progress is a snapshot: nobody changes it any more.
func (s *Store) progress(p place) *progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.places[p]; found != nil {
		return found
	}
	return &progress{}
}

// Low is up to where all of a queue is settled.
func (s *Store) Low(group, queue string) int64 { return s.progress(place{group, queue}).low }
