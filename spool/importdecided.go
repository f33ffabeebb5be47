package spool

import (
	"context"
	"errors"
	"fmt"
)

// takeDecided gathers decided transactions. Theirs are written before what follows them,
// so that none of their messages is here without its decision.
func (b *importBatch) takeDecided(ctx context.Context, t *Transaction) error {
	size, names := t.room(), b.s.names.of(t)
	if b.decided.all != nil && (b.decided.bytes+size > b.s.sizes.op || b.decided.has(names)) {
		if err := b.flushDecided(ctx); err != nil {
			return err
		}
	}
	b.decided.add(t, size, names)
	return nil
}

// importDecided are decided transactions that become known here.
type importDecided struct {
	all   []*Transaction
	owned []*owned
	names map[nameHash]bool
	bytes int
}

func (op *importDecided) add(t *Transaction, size int, names []nameHash) {
	if op.names == nil {
		op.names = map[nameHash]bool{}
	}
	for _, n := range names {
		op.names[n] = true
	}
	op.all = append(op.all, t)
	op.bytes += size
}

// has reports whether a transaction of one of the names is there: no file has that but
// by mistake.
func (op *importDecided) has(names []nameHash) bool {
	for _, n := range names {
		if op.names[n] {
			return true
		}
	}
	return false
}

// flushDecided makes those durable that are not known here. Their names are its own from
// the look whether they are, to the sync.
func (b *importBatch) flushDecided(ctx context.Context) error {
	gathered := b.decided.all
	if b.decided = (importDecided{}); gathered == nil {
		return nil
	}
	op, conflicts := &importDecided{}, 0
	err := b.s.roomToSpare()
	for _, t := range gathered {
		if err != nil {
			break
		}
		var without int
		without, err = b.s.knowDecided(ctx, op, t)
		conflicts += without
	}
	if err == nil && len(op.all) > 0 {
		err = b.s.commit(ctx, op)
	}
	if err != nil || len(op.all) == 0 {
		for _, o := range op.owned {
			b.s.unlessUnknown(o, err)
		}
		return err
	}
	b.done.Decided += len(op.all)
	b.done.Conflicts += conflicts
	return nil
}

// knowDecided adds t to op, unless it is known; without are the messages for which the key
// of t stands, which is another's here.
func (s *Spool) knowDecided(ctx context.Context, op *importDecided, t *Transaction) (without int, err error) {
	o, err := s.own(ctx, s.names.of(t)...)
	if err != nil {
		return 0, err
	}
	_, err = s.named(s.names.ofID(t.ID))
	if !errors.Is(err, ErrNoTransaction) {
		s.unlessUnknown(o, nil)
		return 0, err
	}
	op.owned = append(op.owned, o)
	if t.Key != "" && t.State != TransactionRolledBack {
		switch _, err := s.named(s.names.ofKey(t.Key)); {
		case err == nil:
			without, t.Key = len(t.Messages), ""
		case !errors.Is(err, ErrNoTransaction):
			return 0, fmt.Errorf("transaction %s: %w", t.ID, err)
		}
	}
	t.number = s.nextTransaction()
	op.all = append(op.all, t)
	op.bytes += t.room()
	return without, nil
}

func (op *importDecided) size() int { return fixedSize + op.bytes }

// apply has what is kept of them kept from now on: their messages may be on their way.
func (op *importDecided) apply(c *commit) {
	c.needs(formatHalf)
	if c.s.names.keyed {
		c.needs(formatKeyedNames)
	}
	for _, t := range op.all {
		t.at = c.elapsed
		for _, n := range c.s.names.of(t) {
			c.sets = append(c.sets, pair{nameKey(n), encodeName(t.number)})
		}
		t.write(c, due{})
	}
}

func (op *importDecided) synced(s *Spool) {
	for _, o := range op.owned {
		s.disown(o)
	}
}
