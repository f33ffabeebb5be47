package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// transactions is what is in memory of all transactions. s.mu guards it.
type transactions struct {
	busy   map[nameHash]*owned // names that one call is at work with
	last   uint64              // number that was given
	given  map[handed]due      // to who checks or ends them, and not back yet
	counts TransactionCounts
	fresh  fresh
	sooner signal // one is to be checked before DueChecks wakes
	ending signal // one is to be ended before DueEnds wakes
}

// handed is a transaction that is given out, and by which clock. Each clock has a reader
// of its own, who may come upon what a damage brought back of one that the other has.
type handed struct {
	clock  dueClock
	number uint64
}

func (d due) handed() handed { return handed{d.clock, d.seq} }

// back notes that a transaction is in another place of the index than where it was
// given out. It may be given out from there already: what is written is read before it
// is said to be synced.
func (x *transactions) back(now due) {
	for _, clock := range [...]dueClock{clockCheck, clockEnding} {
		if h := (handed{clock, now.seq}); x.given[h] != now {
			delete(x.given, h)
		}
	}
}

// TransactionCounts are how many transactions are in which state. Those that are
// decided are counted while they are kept.
type TransactionCounts struct {
	Half, Undecided, Decided int
	Ending                   int // decided, and their broker has not confirmed it yet
}

func (x *transactions) count(clock dueClock, by int) {
	switch clock {
	case clockCheck:
		x.counts.Half += by
	case clockUndecided:
		x.counts.Undecided += by
	case clockEnding:
		x.counts.Ending += by
	default:
		x.counts.Decided += by
	}
}

// TransactionCounts returns how many there are.
func (s *Spool) TransactionCounts() TransactionCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transactions.counts
}

func newTransactions() transactions {
	return transactions{
		busy: map[nameHash]*owned{}, given: map[handed]due{}, fresh: newFresh(), sooner: newSignal(), ending: newSignal(),
	}
}

// loadTransactions counts them. A number is of an opening, so none is given twice.
func (s *Spool) loadTransactions() error {
	s.transactions.last = s.db.Epoch() << 32
	for _, clock := range transactionClocks {
		prefix := placePrefix(clock)
		err := s.db.Scan(kv.Scan{Prefix: prefix, KeysOnly: true, Whole: true}, func(k, _ []byte) (bool, error) {
			if fits(k) {
				s.transactions.count(clock, 1)
			}
			return true, nil
		})
		if err != nil {
			return fmt.Errorf("count transactions: %w", err)
		}
	}
	return nil
}

// owned are the names of a transaction that one call is at work with: what it has
// queued has to be on disk before the next one reads.
type owned struct {
	names []nameHash
	room  [2]nameHash   // of most
	done  chan struct{} // closed by disown; nil: nobody waits for that
}

// ended is closed when the names are given up. Spool.mu is held.
func (o *owned) ended() <-chan struct{} {
	if o.done == nil {
		o.done = make(chan struct{})
	}
	return o.done
}

// own waits until no other call is at work with a transaction of these names. They
// are the caller's until disown, which may be called twice.
func (s *Spool) own(ctx context.Context, names ...nameHash) (*owned, error) {
	for {
		s.mu.Lock()
		o, other := s.transactions.own(names...)
		if o != nil {
			s.mu.Unlock()
			return o, nil
		}
		ended := other.ended()
		s.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w: another call for this transaction has not ended", ErrBusy, ctx.Err())
		case <-s.closing:
			return nil, ErrClosed
		case <-s.db.Failed():
			return nil, ErrReadOnly
		}
	}
}

// own takes names, unless another call is at work with one of them.
func (x *transactions) own(names ...nameHash) (o, other *owned) {
	for _, n := range names {
		if other = x.busy[n]; other != nil {
			return nil, other
		}
	}
	o = &owned{}
	o.names = append(o.room[:0], names...)
	for _, n := range names {
		x.busy[n] = o
	}
	return o, nil
}

// disown lets the next call have the names. s.mu is held.
func (s *Spool) disown(o *owned) {
	if s.transactions.busy[o.names[0]] != o {
		return
	}
	for _, n := range o.names {
		delete(s.transactions.busy, n)
	}
	if o.done != nil {
		close(o.done)
	}
}

// unlessUnknown disowns what a commit did not take: else that does it.
func (s *Spool) unlessUnknown(o *owned, err error) {
	if errors.Is(err, ErrUnknown) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disown(o)
}

// ownID is own for a transaction that a caller has named.
func (s *Spool) ownID(ctx context.Context, id string) (*owned, error) {
	o, err := s.own(ctx, s.names.ofID(id))
	if err != nil {
		return nil, fmt.Errorf("transaction %.40q: %w", id, err)
	}
	return o, nil
}

// takeFresh owns a transaction that is in memory, and leaves it to its caller; nil: it
// has to be read, as one has that another call is at work with.
func (s *Spool) takeFresh(id string) (*Transaction, *owned) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.transactions.fresh.byID[id] == nil {
		return nil, nil
	}
	o, _ := s.transactions.own(s.names.ofID(id))
	if o == nil {
		return nil, nil
	}
	t := s.transactions.fresh.take(id)
	s.tellCheck(t)
	return t, o
}

// named finds a transaction by one of its names.
func (s *Spool) named(n nameHash) (*Transaction, error) {
	v, err := s.db.Get(nameKey(n))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, ErrNoTransaction
	}
	if err != nil {
		return nil, fmt.Errorf("find transaction: %w", err)
	}
	number, err := decodeName(v)
	if err != nil {
		s.notice(nameOf(nameKey(n)))
		return nil, err
	}
	t, err := s.numbered(number)
	if errors.Is(err, ErrNoTransaction) {
		s.notice(nameOf(nameKey(n)))
	}
	return t, err
}

func (s *Spool) numbered(number uint64) (*Transaction, error) {
	v, err := s.db.Get(transactionKey(number))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, ErrNoTransaction
	}
	if err != nil {
		return nil, fmt.Errorf("read transaction: %w", err)
	}
	t, err := decodeTransaction(number, v)
	if err != nil {
		s.notice(nameOf(transactionKey(number)))
		return nil, err
	}
	s.tellCheck(t)
	return t, nil
}

// tellCheck says in terms of the wall clock of now when t is checked.
func (s *Spool) tellCheck(t *Transaction) {
	if t.State == TransactionHalf {
		t.NextCheckAt = s.now().Add(time.Duration(int64(t.at)-int64(s.clock.now())) * time.Millisecond)
	}
}

// TransactionPage is some of the transactions.
type TransactionPage struct {
	Items []Transaction
	Next  string // cursor of the next page; "": there is none. A page may be short, and not the last
}

// Transactions lists those in one of the states, all when there are none, in the
// order in which they were prepared, from cursor on ("": the first). Of a cursor
// that no page gave: ErrCursor.
func (s *Spool) Transactions(ctx context.Context, states []TransactionState, cursor string, limit int) (page TransactionPage, err error) {
	at, err := parsePosition(cursor)
	if err != nil {
		return page, err
	}
	left, page := pageBytes, TransactionPage{Items: []Transaction{}}
	err = s.db.Scan(kv.Scan{Prefix: transactionPrefix, From: transactionKey(at.seq)}, func(k, v []byte) (bool, error) {
		if len(page.Items) >= max(limit, 1) || left <= 0 {
			page.Next = position{part: listWaiting, seq: tail64(k, len(transactionPrefix))}.String()
			return false, nil
		}
		left -= len(v)
		if !fits(k) {
			return true, nil
		}
		t, err := decodeTransaction(tail64(k, len(transactionPrefix)), v)
		if err != nil { // it hides no other
			s.notice(nameOf(k))
			return true, ctx.Err()
		}
		if len(states) == 0 || slices.Contains(states, t.State) {
			s.tellCheck(t)
			page.Items = append(page.Items, *t)
		}
		return true, ctx.Err()
	})
	if err != nil {
		return page, fmt.Errorf("list transactions: %w", err)
	}
	return page, nil
}
