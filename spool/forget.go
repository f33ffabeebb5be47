package spool

import (
	"errors"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// forgetTransactions ends what is kept of decided transactions: after as long as
// receipts and idempotency keys are kept, and above as many as there may be receipts,
// those that were decided first going first. As with an idempotency key, none goes
// that was decided less than keyGrace ago; and none of which a message is still held:
// that one is kept as if it were decided now.
func (s *Spool) forgetTransactions() error {
	for {
		some, err := s.forgettable()
		if err != nil || len(some) == 0 {
			return err
		}
		if err := s.commit(s.life, &forget{some}); err != nil {
			return err
		}
	}
}

// forgettable reads the next that are to be forgotten: those of one operation.
func (s *Spool) forgettable() (some []forgotten, err error) {
	s.mu.Lock()
	over, now := s.transactions.counts.Decided-s.opts.ReceiptsMax, s.clock.time()
	before, early := millis(now.Add(-max(s.opts.ReceiptsKeep, s.opts.DedupeWindow))), millis(now.Add(-keyGrace))
	if s.clockHeld() {
		before, early = 0, 0
	}
	s.mu.Unlock()
	size := fixedSize
	prefix := placePrefix(clockDecided)
	err = s.db.Scan(kv.Scan{Prefix: prefix, KeysOnly: true}, func(k, _ []byte) (bool, error) {
		if !fits(k) {
			return true, nil
		}
		if d := dueOf(k); (d.at < before || over > len(some) && d.at < early) && size < s.sizes.op {
			some = append(some, forgotten{due: d})
			size += forgottenSize
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	return s.readForgotten(some)
}

// readForgotten finds what becomes of each, and leaves out those for which one
// operation has no room.
func (s *Spool) readForgotten(some []forgotten) ([]forgotten, error) {
	size := fixedSize
	for i := range some {
		x := &some[i]
		t, err := s.numbered(x.due.seq)
		switch {
		case errors.Is(err, ErrNoTransaction): // a damage brought the entry back
		case err != nil && (s.db.Err() != nil || s.closed()):
			return nil, err
		case err == nil && s.anyHeld(t.Messages):
			x.kept = t
		case err == nil:
			x.names = s.names.of(t)
		}
		if size += x.size(); size > s.sizes.op && i > 0 {
			return some[:i], nil
		}
	}
	return some, nil
}

// anyHeld reports whether one of the messages is not settled.
func (s *Spool) anyHeld(ids []message.ID) bool {
	return slices.ContainsFunc(ids, func(id message.ID) bool {
		seq := s.seqOf(id)
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.settled.has(seq)
	})
}

type forgotten struct {
	due   due
	names []nameHash
	kept  *Transaction // nil: it is forgotten
}

// forgottenSize is what one deletes: itself, its place in the index, and its names.
const forgottenSize = 4 * deleteSize

func (x *forgotten) size() int {
	if x.kept != nil {
		return x.kept.room()
	}
	return forgottenSize
}

// forget deletes all that is kept of some transactions, or keeps them longer.
type forget struct{ all []forgotten }

func (op *forget) size() int {
	size := fixedSize
	for i := range op.all {
		size += op.all[i].size()
	}
	return size
}

func (op *forget) apply(c *commit) {
	for _, x := range op.all {
		if x.kept != nil {
			x.kept.at = c.elapsed
			x.kept.write(c, x.due)
			continue
		}
		c.s.transactions.count(clockDecided, -1)
		c.deletes = append(c.deletes, x.due.key(), transactionKey(x.due.seq))
		for _, n := range x.names {
			c.deletes = append(c.deletes, nameKey(n))
		}
	}
}

func (*forget) synced(*Spool) {}
