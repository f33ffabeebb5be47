package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

// Options of a Store.
type Options struct {
	// Window is how long a mark is kept after it was last changed; 0: 24 h, at
	// least 1 s. It is the longest there is: see Within. It may be changed from one
	// opening to the next.
	Window time.Duration
	// Limit is how many bytes of disk marks may take, keys and all; 0: 256 MiB. Above
	// it those that were changed first go first, an eighth at once, but none under a
	// lease. Stats tells since when all are known.
	Limit int64
	// Clock is the time since some fixed moment. It must be monotonic; nil: the
	// system's monotonic clock.
	Clock func() time.Duration
	// SweepEvery is how often buckets are looked at to be deleted; 0: Window/8,
	// at most an hour.
	SweepEvery time.Duration
	// Room says why the volume has no room for another mark: Begin then fails with
	// it, and the message is held. Other calls end what was begun, and are not
	// asked. nil: there is room.
	Room func() error
	// Keys encrypt marks, and make their hashes ones that nobody else can compute;
	// nil: marks are plain.
	Keys *keyring.Ring
	// Journal is the path of a file, not within the database's directory, in which keys
	// that have no mark are begun without a commit; "": all begin in one.
	Journal string

	noteAfter time.Duration // a seam for tests; 0: see defaultNoteAfter
}

func (o Options) withDefaults() Options {
	if o.Window == 0 {
		o.Window = 24 * time.Hour
	}
	if o.Limit == 0 {
		o.Limit = 256 << 20
	}
	if o.Room == nil {
		o.Room = func() error { return nil }
	}
	if o.Clock == nil {
		began := time.Now()
		o.Clock = func() time.Duration { return time.Since(began) }
	}
	if o.SweepEvery == 0 {
		o.SweepEvery = min(o.Window/bucketsPerWindow, time.Hour)
	}
	if o.noteAfter == 0 {
		o.noteAfter = defaultNoteAfter
	}
	return o
}

// Store is a dedupe.Store.
type Store struct {
	*database

	window time.Duration // at most that of the options
}

// database is what the stores of all windows have in common.
type database struct {
	o       Options
	db      *kv.DB
	failed  <-chan struct{} // closed: the database is fenced
	queue   *kv.Queue[*op]
	buckets buckets

	mu      sync.Mutex // held by the committer for an operation, and by who begins without it
	held    heldMarks
	filters filters
	live    []time.Duration // to have it at hand
	journal *journal        // nil: there is none
	written []int           // its slots whose marks are in the commit that is being made
	keyed   bool            // the secret, if there is one, is on stable storage
	// unjournaled: see [Store.Unjournaled]
	unjournaled error

	secret        *secret            // nil: there is no ring
	secretChanged bool               // not written yet: the committer's
	older         map[keyring.ID]int // see [Store.OlderKeys]; not changed once it is open

	run     uint64        // names this opening
	base    time.Duration // the store's clock when it was opened …
	opened  time.Duration // … and Options.Clock then
	tokens  atomic.Uint64
	damaged atomic.Uint64
	evicted atomic.Int64  // a time.Duration: up to there marks were deleted for want of bytes
	over    chan struct{} // they are above their limit
	learned chan struct{} // closed: no more is learned
	begun   chan struct{} // the journal is not empty any more

	calls dedupe.Calls // and the sweeper
	stop  context.CancelFunc
}

var _ dedupe.Store = (*Store)(nil)

// Open attaches the store to db, which the caller closes after the store. A
// database takes one store at a time. On disk nothing changes. A
// *keyring.MissingError says that o.Keys lacks a key that is needed.
func Open(db *kv.DB, o Options) (*Store, error) {
	if o.Window != 0 && o.Window < time.Second {
		return nil, fmt.Errorf("open dedupe store: a window of %v is below 1s", o.Window)
	}
	o = o.withDefaults()
	s := newStore(&database{o: o, db: db, failed: db.Failed(), run: rand.Uint64(), held: heldMarks{}, over: make(chan struct{}, 1), learned: make(chan struct{}), begun: make(chan struct{}, 1)})
	s.tokens.Store(rand.Uint64())
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open dedupe store: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	known := slices.Clone(s.buckets.all)
	s.filters = newFilters(known)
	s.queue = kv.Attach(db, s)
	if err := s.openJournal(ctx); err != nil {
		cancel()
		return nil, fmt.Errorf("open dedupe store: %w", err)
	}
	s.lookOver()
	s.calls.Go(func() { s.learn(ctx, known) })
	s.calls.Go(func() { s.sweepLoop(ctx) })
	s.calls.Go(func() { s.noteLoop(ctx) })
	return s, nil
}

func newStore(d *database) *Store { return &Store{d, d.o.Window} }

// Within is the same store for those who keep marks for a window of their own, at
// least 1 s and at most that of the options. Close of either closes both.
func (s *Store) Within(window time.Duration) dedupe.Store {
	return &Store{s.database, min(window, s.o.Window)}
}

// load finds what is on disk.
func (s *Store) load() error {
	if err := s.loadBuckets(); err != nil {
		return err
	}
	return s.loadSecret()
}

// loadBuckets finds the buckets, and the clock: never before a mark that it wrote.
func (s *Store) loadBuckets() error {
	if err := s.buckets.load(s.db); err != nil {
		return err
	}
	s.opened = s.o.Clock()
	clock, err := s.loadTime(clockKey)
	if err != nil {
		return err
	}
	evicted, err := s.loadTime(evictedKey)
	s.evicted.Store(int64(evicted))
	s.base = max(s.buckets.newest(), clock)
	return err
}

// loadTime reads an entry that is a time of the store's clock; 0: there is none.
func (s *Store) loadTime(key []byte) (time.Duration, error) {
	b, err := s.db.Get(key)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return 0, nil
	case err != nil || len(b) != 8:
		return 0, err
	}
	return time.Duration(binary.BigEndian.Uint64(b)) * time.Millisecond, nil
}

// now is the store's clock.
func (s *Store) now() time.Duration { return s.base + s.o.Clock() - s.opened }

// Damaged is how many marks failed their checksum since Open.
func (s *Store) Damaged() uint64 { return s.damaged.Load() }

// Close waits for running calls; later ones answer dedupe.ErrClosed.
func (s *Store) Close() error {
	first := s.calls.Close()
	s.stop()
	s.calls.Wait()
	if !first || s.journal == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.close()
	return nil
}

// Begin implements dedupe.Store.
func (s *Store) Begin(ctx context.Context, k dedupe.Key, f dedupe.Fingerprint, lease time.Duration) (dedupe.Mark, error) {
	if err := s.o.Room(); err != nil {
		return dedupe.Mark{}, fmt.Errorf("begin dedupe mark: %w", err)
	}
	lease = min(lease, s.window)
	token := s.tokens.Add(1)
	key, plain := s.hashes(k)
	m, begun := s.beginNew(ctx, key, plain, f, lease, token)
	if !begun {
		var err error
		if m, err = s.beginInCommit(ctx, &op{of: k, key: key, plain: plain, window: s.window}, f, lease, token); err != nil {
			return dedupe.Mark{}, err
		}
	}
	return dedupe.Whole(ctx, s, k, m, lease)
}

func (s *Store) beginInCommit(ctx context.Context, o *op, f dedupe.Fingerprint, lease time.Duration, token uint64) (dedupe.Mark, error) {
	o.change = func(r *record, now time.Duration, o *op) bool {
		v, conflict := r.begin(f, now, lease, s.run, token)
		o.mark = dedupe.Mark{Verdict: v, Conflict: conflict, Attempt: int(r.attempts)}
		o.until = r.until
		if v == dedupe.Begun {
			o.mark.Token = token
		}
		return v == dedupe.Begun
	}
	o.begins = &f
	if err := s.commit(ctx, o, opSize); err != nil {
		return dedupe.Mark{}, fmt.Errorf("begin dedupe mark: %w", err)
	}
	o.mark.Until = time.Now().Add(o.until - s.now())
	return o.mark, nil
}

// Extend implements dedupe.Store.
func (s *Store) Extend(ctx context.Context, k dedupe.Key, m dedupe.Mark, lease time.Duration) error {
	lease = min(lease, s.window)
	return s.settle(ctx, "extend", s.settling(k, m, func(r *record, now time.Duration, _ *op) bool {
		r.until = now + lease
		return r.held
	}), opSize)
}

// Done implements dedupe.Store.
func (s *Store) Done(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	o := s.settling(k, m, func(r *record, _ time.Duration, o *op) bool {
		o.apart = r.finish()
		return true
	})
	return s.settle(ctx, "finish", o, opSize+apartSize)
}

// Release implements dedupe.Store.
func (s *Store) Release(ctx context.Context, k dedupe.Key, m dedupe.Mark, counts bool) error {
	return s.settle(ctx, "release", s.settling(k, m, func(r *record, _ time.Duration, _ *op) bool {
		r.free(counts)
		return true
	}), opSize)
}

// Forget implements dedupe.Store.
func (s *Store) Forget(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	return s.settle(ctx, "forget", s.settling(k, m, func(r *record, _ time.Duration, _ *op) bool {
		r.forget()
		return true
	}), opSize)
}

// settling changes the mark if m's holder was the last one to begin it.
func (s *Store) settling(k dedupe.Key, m dedupe.Mark, change func(*record, time.Duration, *op) bool) *op {
	return s.newOp(k, func(r *record, now time.Duration, o *op) bool {
		if r.token != m.Token || m.Token == 0 || !change(r, now, o) {
			o.err = dedupe.ErrFenced
			return false
		}
		return true
	})
}

func (s *Store) settle(ctx context.Context, verb string, o *op, size int) error {
	err := s.commit(ctx, o, size)
	if err == nil {
		err = o.err
	}
	if err != nil {
		return fmt.Errorf("%s dedupe mark: %w", verb, err)
	}
	return nil
}

func (s *Store) newOp(k dedupe.Key, change func(*record, time.Duration, *op) bool) *op {
	o := s.opOf(k)
	o.change = change
	return o
}

// opOf is an operation on the mark of k that changes nothing.
func (s *Store) opOf(k dedupe.Key) *op {
	o := &op{of: k, window: s.window}
	o.key, o.plain = s.hashes(k)
	return o
}

func (s *Store) commit(ctx context.Context, o *op, size int) error {
	if err := s.calls.Begin(); err != nil {
		return err
	}
	defer s.calls.Done()
	return s.queue.Commit(ctx, o, size)
}
