package spool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// DueChecks returns the next transactions whose check-back is due, at most so many,
// those that have waited longest first; it waits until there are any. Each is told
// once in a process, until CheckedInVain says when to ask again. One goroutine calls
// it. Errors: those of ctx, ErrClosed, ErrReadOnly.
func (s *Spool) DueChecks(ctx context.Context, most int) (all []Transaction, err error) {
	for {
		if err := s.over(ctx); err != nil {
			return nil, err
		}
		err := s.eachDue(clockCheck, func(d due) bool {
			if len(all) == most {
				return false
			}
			if t := s.dueCheck(d); t != nil {
				all = append(all, *t)
			}
			return true
		})
		if err != nil {
			return nil, fmt.Errorf("read what is to be checked: %w", err)
		}
		if len(all) > 0 {
			return all, nil
		}
		if err := s.awaitCheck(ctx); err != nil {
			return nil, err
		}
	}
}

// dueCheck reads a transaction that is to be checked; nil: it is not any more, or that
// is under way. The index has it until then, and is read from there again when another
// one is added while it is read, or with an earlier time.
func (s *Spool) dueCheck(d due) *Transaction {
	if !s.giveOut(d) {
		return nil
	}
	t := s.stillDue(d)
	if t == nil {
		s.mu.Lock()
		delete(s.transactions.given, d.handed())
		s.mu.Unlock()
	}
	return t
}

// giveOut notes that a transaction is given out, and reports whether it was not. It is
// noted before the transaction is read: who had it may be done in between.
func (s *Spool) giveOut(d due) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.transactions.given[d.handed()] == d {
		return false
	}
	s.transactions.given[d.handed()] = d
	return true
}

func (s *Spool) stillDue(d due) *Transaction {
	t, err := s.numbered(d.seq)
	if errors.Is(err, ErrNoTransaction) {
		err = kv.ErrNotFound
	}
	err = s.surely(err, kv.Scan{Prefix: transactionKey(d.seq)})
	if errors.Is(err, kv.ErrNotFound) || err == nil && t.due() != d {
		s.post(&deletion{[][]byte{d.key()}}) // one that a damage brought back
		return nil
	}
	if err != nil { // noticed
		return nil
	}
	return t
}

func (s *Spool) awaitCheck(ctx context.Context) error {
	wait := sleepFor(clockCheck, s.nextDue(clockCheck), s.clock.now())
	timer := time.NewTimer(wait)
	defer timer.Stop()
	return s.awaitUntil(ctx, s.transactions.sooner, timer.C)
}

// InVain is what came of a check-back that brought no decision.
type InVain struct {
	Brought string
	Again   time.Duration // until the next
	Counts  bool          // among Transaction.Checks
}

// CheckedInVain notes that a check-back of an open transaction brought no decision,
// and that it is checked again after some time. It is written with the next commit;
// a crash before that asks once more. Of one that is decided it does nothing.
func (s *Spool) CheckedInVain(ctx context.Context, id string, v InVain) error {
	o, err := s.own(ctx, s.names.ofID(id))
	if err != nil {
		return err
	}
	t, err := s.named(s.names.ofID(id))
	if err != nil || t.State != TransactionHalf {
		s.unlessUnknown(o, nil)
		if errors.Is(err, ErrNoTransaction) {
			return nil
		}
		return err
	}
	if v.Counts {
		t.Checks++
	}
	t.LastCheck = clip(v.Brought)
	s.post(&ownedOperation{&checkAgain{Transaction: t, was: t.due(), in: v.Again}, o})
	return nil
}

// checkAgain has an open transaction checked at another time.
type checkAgain struct {
	*Transaction

	was due
	in  time.Duration
}

func (op *checkAgain) size() int { return op.room() }

func (op *checkAgain) apply(c *commit) {
	op.at = op.was.moved(op.clock(), c.elapsed+uint64(op.in.Milliseconds()))
	op.write(c, op.was)
}

func (op *checkAgain) synced(s *Spool) {
	s.transactions.back(op.due())
	s.schedule(op.due())
}

// Undecide leaves an open transaction undecided: it is kept, and decided by an
// operator. When it returns nil that is on stable storage. Of one that is not half
// it returns what stands.
func (s *Spool) Undecide(ctx context.Context, id, by string) (Transaction, error) {
	return s.changeTransaction(ctx, id, func(t *Transaction) (operation, error) {
		if t.State != TransactionHalf {
			return nil, nil // nothing is left to do
		}
		return undecided(t, by), nil
	})
}

func undecided(t *Transaction, by string) *undecide {
	op := &undecide{Transaction: t, was: t.due()}
	t.State, t.DecidedBy, t.NextCheckAt = TransactionUndecided, clip(by), time.Time{}
	return op
}

type undecide struct {
	*Transaction

	was due
}

func (op *undecide) size() int { return op.room() }

func (op *undecide) apply(c *commit) {
	op.EndedAt, op.at = c.now, c.elapsed
	op.write(c, op.was)
}

func (op *undecide) synced(s *Spool) { s.transactions.back(op.due()) }

// AdoptTransactions is for who takes over the spool of a sidecar that is gone, with
// its application: open transactions are asked for at url from now on, as if they
// were prepared now; without one they are undecided at once, and never guessed. When
// it returns nil that is on stable storage. It returns how many there are.
func (s *Spool) AdoptTransactions(ctx context.Context, url string) (n int, err error) {
	const some = 1000
	if len(url) > MaxCheckURL { // it could not be decided afterwards, nor exported
		return 0, fmt.Errorf("adopt transactions: the URL has %d bytes, and %d are the most", len(url), MaxCheckURL)
	}
	err = s.eachHalf(ctx, func(t *Transaction) error {
		n++
		if url == "" {
			s.post(undecided(t, "adopted without a check URL"))
		} else {
			t.Check.URL, t.Checks = url, 0
			s.post(&checkAgain{Transaction: t, was: t.due(), in: t.Check.After})
		}
		if n%some > 0 {
			return nil
		}
		return s.commit(ctx, &flush{})
	})
	if err == nil {
		err = s.commit(ctx, &flush{})
	}
	if err != nil {
		return n, fmt.Errorf("adopt transactions: %w", err)
	}
	return n, nil
}

// eachHalf calls fn with each transaction that is half, while nobody else is at work
// with any. One that damage hides is not passed over: the database is fenced.
func (s *Spool) eachHalf(ctx context.Context, fn func(*Transaction) error) error {
	var numbers []uint64
	prefix := placePrefix(clockCheck)
	err := s.db.Scan(kv.Scan{Prefix: prefix, KeysOnly: true, Whole: true}, func(k, _ []byte) (bool, error) {
		if fits(k) {
			numbers = append(numbers, dueOf(k).seq)
		}
		return true, ctx.Err()
	})
	err = s.mustSee(err)
	for _, number := range numbers {
		if err != nil {
			return err
		}
		var t *Transaction
		t, err = s.numbered(number)
		switch {
		case errors.Is(err, ErrNoTransaction):
			if err = s.surely(kv.ErrNotFound, kv.Scan{Prefix: transactionKey(number)}); errors.Is(err, kv.ErrNotFound) {
				err = nil // a damage brought the entry back
			}
		case err == nil && t.State == TransactionHalf:
			err = fn(t)
		}
	}
	return err
}
