package spool

import (
	"errors"
	"fmt"
)

// transaction checks an entry sp by itself, and looks for all that leads to it.
func (a *auditor) transaction(k, v []byte) error {
	t, err := decodeTransaction(tail64(k, len(transactionPrefix)), v)
	if err != nil {
		return err
	}
	a.open[t.number] = t.ID
	if t.released() {
		delete(a.open, t.number)
	}
	a.transactions++
	for _, n := range a.names.of(t) {
		v, err := a.r.Get(nameKey(n))
		if err != nil {
			return fmt.Errorf("find it by its name: %w", err)
		}
		if number, err := decodeName(v); err != nil || number != t.number {
			return fmt.Errorf("its name leads to transaction %d (%w)", number, err)
		}
	}
	if _, err := a.r.Get(t.due().key()); err != nil {
		return fmt.Errorf("find its place in the index of due times: %w", err)
	}
	return nil
}

// place checks that each transaction has one entry in the index.
func (a *auditor) place(_, _ []byte) error {
	if a.transactions--; a.transactions < 0 && len(a.damage) == 0 {
		return errors.New("it leads to no transaction")
	}
	return nil
}

func (a *auditor) name(_, v []byte) error {
	number, err := decodeName(v)
	if err != nil {
		return err
	}
	if _, err := a.r.Get(transactionKey(number)); err != nil {
		return fmt.Errorf("find the transaction of a name: %w", err)
	}
	return nil
}

// half checks that the transaction of a half message waits for its decision.
func (a *auditor) half(t *auditTopic, d *delayed) error {
	t.half++
	id, open := a.open[d.due.at]
	if !open || id != d.transaction {
		return fmt.Errorf("sequence %d is half, and transaction %.40q is not open", d.record.Seq, d.transaction)
	}
	return nil
}

// compareHalf compares what was read of half messages with the counter.
func (a *auditor) compareHalf(t *auditTopic) {
	if t.half != t.counts.half {
		a.notef("topic %q: the ledger holds %d half, %d were read", t.lane.topic, t.counts.half, t.half)
	}
}
