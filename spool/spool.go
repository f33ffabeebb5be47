package spool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Spool holds accepted messages until they are settled.
type Spool struct {
	opts  Options
	db    *store
	queue *kv.Queue[operation]
	sizes sizes

	writer *writer

	mu        sync.Mutex
	head      head
	lanes     map[string]*lane
	inTurn    []*lane        // the same, as they came; none ever goes
	paused    map[*lane]bool // those of them that are
	byID      map[uint32]*lane
	settled   settledSet
	entries   map[uint64]*entry    // held messages in memory, by sequence
	dead      map[uint64]*lane     // dead letters, by sequence
	redriven  map[uint64]*redriven // pending messages that were dead letters, by sequence
	byRedrive []redriveAt          // of them, the first redriven first; with some that are not any more
	holds     map[uint64]*hold     // pending messages that an operator keeps back, by sequence
	blockers  map[uint64]*blocker  // dead letters that later messages of their ordering keys wait for
	settling  map[uint64]*receipt  // being settled: not synced yet
	ended     map[uint64]bool      // cancelled or discarded: their dedupe keys stay taken
	keys      keyIndex
	offered   map[keyHash]int // calls of Append by their dedupe keys, until their commit begins
	receipts  receiptIndex
	excepted  exceptionIndex
	damage    damageReports
	verified  Verified
	doubts    doubts          // while it opens
	sets      map[uint64]bool // of chunks, that a record names; while it opens
	held      int64           // bytes of held messages, over all lanes
	full      bool            // the high-water mark was reached, and the low one not since
	windows   int64           // bytes of all windows
	reading   int64           // bytes that reads under way may bring in
	starving  []*lane         // that wait until there is room, in turn
	turns     turns
	fedNow    *lane // that was woken for it, and has not had its turn
	aside     int   // messages that are put aside in all lanes
	retained  retained
	unkept    bool // what is confirmed is not kept: see KeepConfirmed
	copies    copies
	delayed   uint64                   // messages, over all lanes
	half      uint64                   // messages, over all lanes
	moving    map[uint64]*movedMessage // that were delayed or half, by the sequence that they had: not synced yet
	due       map[dueClock]*schedule
	ttl       ttls
	clock     spoolClock
	wallApart int64 // how far the wall clock is ahead of that, in milliseconds, as it was last found
	leases    uint64
	reads     int           // that are made patiently
	readers   chan struct{} // has a place for each read for a window that is made now
	watchers  map[uint64][]chan struct{}
	fresh     []string // topics that NextTopic has not told of yet
	topics    signal
	left      signal             // a message left its window
	dueSooner signal             // a message is delayed for less than fallDue sleeps
	older     map[keyring.ID]int // entries by key, other than the current one, as they were found
	closing   chan struct{}
	dropping  sync.Mutex // held by the one that drops what is retained
	running   sync.WaitGroup
	stop      sync.Once
	life      context.Context //nolint:containedctx // ends with Close: for what maintain does
	end       context.CancelFunc

	hasImported bool          // some message has the ID of another spool
	importing   chan struct{} // held by the one import that runs

	transactions transactions
	names        names
}

// Open reads the spool in db, which the caller opened and closes after the
// spool. It begins a new epoch: when Open returns, the epoch is synced, so that
// no message ID can be issued twice.
//
// Open costs a scan of the dedupe keys and the keys of dead letters and
// receipts; not of the messages, unless something is damaged: then all of it is
// compared, what can be is rebuilt, and Damage tells what is lost. Damage is no
// error, except kv.ErrDamaged: the database has to be opened again, and then
// salvages.
func Open(ctx context.Context, db *kv.DB, opts Options) (*Spool, error) {
	s := &Spool{
		opts: opts.withDefaults(), db: &store{db, opts.Keys},
		lanes: map[string]*lane{}, byID: map[uint32]*lane{}, paused: map[*lane]bool{},
		settled: settledSet{ranges: map[uint64]*bitmap{}},
		entries: map[uint64]*entry{}, dead: map[uint64]*lane{}, redriven: map[uint64]*redriven{}, holds: map[uint64]*hold{}, blockers: map[uint64]*blocker{}, settling: map[uint64]*receipt{}, ended: map[uint64]bool{}, offered: map[keyHash]int{},
		moving: map[uint64]*movedMessage{}, due: newSchedules(), dueSooner: newSignal(), ttl: ttls{overdue: map[uint64]due{}, sooner: newSignal()},
		watchers: map[uint64][]chan struct{}{}, topics: newSignal(), left: newSignal(), closing: make(chan struct{}),
		importing: make(chan struct{}, 1), readers: make(chan struct{}, maxReads), transactions: newTransactions(), turns: turns{now: time.Now},
	}
	s.keys, s.receipts = newKeyIndex(), newReceiptIndex()
	s.life, s.end = context.WithCancel(context.Background())
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s.sizes = sizesFor(s.db)
	s.writer = &writer{s: s, c: newCommit(s)}
	s.queue = kv.Attach(db, s.writer)
	if err := s.repair(ctx); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := s.loadBlockers(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := s.commit(ctx, &beginEpoch{}); err != nil {
		return nil, fmt.Errorf("open spool: begin epoch: %w", err)
	}
	if err := s.keyNames(ctx); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := s.sweepChunks(ctx); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := s.renewEntries(ctx); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s.running.Go(s.maintain)
	s.running.Go(s.fallDue)
	s.running.Go(s.keepTTLs)
	s.running.Go(s.keepVerifying)
	return s, nil
}

// ID names the spool; every message forwarded from it carries it as its origin.
func (s *Spool) ID() message.SpoolID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head.spoolID
}

// Close refuses new messages, ends every waiting call, and returns when all
// that was confirmed is recorded. The database stays open.
func (s *Spool) Close() error {
	s.stop.Do(func() {
		s.mu.Lock() // patiently starts nothing any more
		close(s.closing)
		s.mu.Unlock()
		s.end()
	})
	s.running.Wait()
	err := s.commit(context.Background(), &flush{})
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// Failed is closed when a sync failed: the spool is read-only, what was last
// asked of it is unknown, and the process has to restart.
func (s *Spool) Failed() <-chan struct{} { return s.db.Failed() }

// post lets op ride in the next commit. Nobody learns of its outcome.
func (s *Spool) post(op operation) { s.queue.Post(op, op.size()) }

// later lets op wait for others, and appends overtake it; else it is post.
func (s *Spool) later(op operation) { s.queue.Later(op, op.size()) }

// commit runs op in a synced transaction.
func (s *Spool) commit(ctx context.Context, op operation) error {
	return errorOf(s.queue.Commit(ctx, op, op.size()))
}

// errorOf says in this package's words how a commit or a read went.
func errorOf(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrReadOnly), errors.Is(err, ErrUnknown): // said
		return err
	case errors.Is(err, kv.ErrUnknown):
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	case errors.Is(err, kv.ErrClosed):
		return ErrClosed
	case errors.Is(err, kv.ErrFenced):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case errors.Is(err, kv.ErrBusy):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case errors.Is(err, kv.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	default:
		return err
	}
}

func (s *Spool) closed() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// now has the precision that is stored.
func (s *Spool) now() time.Time { return s.opts.Now().Truncate(time.Millisecond) }

// nanos counts from 1970; a clock set before that counts as 0.
func nanos(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }
