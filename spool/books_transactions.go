package spool

import (
	"bytes"
	"maps"
	"slices"
)

// transaction takes in what is known of one. What leads to it is written again.
func (b *books) transaction(k, v []byte) error {
	t, err := decodeTransaction(tail64(k, len(transactionPrefix)), v)
	if err == nil {
		b.decided[t.number] = t
		if t.Half != nil {
			b.head.format = max(b.head.format, formatBrokerHalf)
		}
	}
	return err
}

// nameOrPlace has an entry deleted that leads to a transaction; those that are right
// are written again (closeTransactions).
func (b *books) nameOrPlace(k, _ []byte) error {
	b.deletes = append(b.deletes, bytes.Clone(k))
	return nil
}

// halfMessage counts a half message. Its transaction may be lost, or known to be
// decided, when that is of a later time than the message: it is not guessed what
// became of it.
func (b *books) halfMessage(a *account, d *delayed) {
	a.half++
	t := b.decided[d.due.at]
	if t == nil {
		t = &Transaction{number: d.due.at, ID: d.transaction, PreparedAt: d.record.AcceptedAt}
		b.decided[t.number] = t
		b.notef("transaction %q: all that is known of it are its messages", t.ID)
		t.State, t.DecidedBy = TransactionUndecided, "it was damaged"
		t.EndedAt, t.at = b.now(), b.clock.now()
	} else if t.released() {
		b.notef("transaction %q: it is not known any more whether it is %s", t.ID, t.State)
		if t.State == TransactionRolledBack {
			t.Key = "" // it may be another's
		}
		t.State, t.DecidedBy = TransactionUndecided, "it was damaged"
		t.EndedAt, t.at = b.now(), b.clock.now()
	}
	if !slices.Contains(t.Messages, d.record.ID) {
		t.Messages = append(t.Messages, d.record.ID)
	}
}

// closeTransactions writes all transactions, and what leads to them.
func (b *books) closeTransactions() {
	x := &b.Spool.transactions
	x.counts = TransactionCounts{}
	for _, number := range slices.Sorted(maps.Keys(b.decided)) {
		t := b.decided[number]
		x.count(t.clock(), 1)
		x.last = max(x.last, number)
		if b.names.keyed {
			b.head.format = max(b.head.format, formatKeyedNames)
		}
		b.sets = append(b.sets, pair{transactionKey(number), t.encode(nil)}, pair{t.due().key(), nothing})
		for _, n := range b.names.of(t) {
			b.sets = append(b.sets, pair{nameKey(n), encodeName(number)})
		}
	}
}
