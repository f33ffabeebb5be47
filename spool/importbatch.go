package spool

import (
	"bytes"
	"context"
	"errors"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// importBatch gathers what goes into one commit.
type importBatch struct {
	s     *Spool
	done  *Imported
	op    importMessages
	size  int
	apart int // bytes of payloads that are stored apart: they are in memory until the commit
	ids   map[message.ID]bool
	none  stretch // of keys that had no entry, before this import wrote some

	decided importDecided
}

// take adds what stands in a line.
func (b *importBatch) take(ctx context.Context, l line) error {
	if l.decided != nil {
		return b.takeDecided(ctx, l.decided)
	}
	if err := b.flushDecided(ctx); err != nil {
		return err
	}
	if l.settled != nil {
		return b.takeKey(ctx, importedKey{settledKey: *l.settled})
	}
	if l.transaction != nil {
		return b.takeTransaction(ctx, l.transaction)
	}
	r, err := b.known(ctx, l.item.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		return b.takeMessage(ctx, l.item, l.key)
	case err != nil:
		return err
	}
	if b.done.Known++; l.key == nil || b.ids[l.item.ID] {
		return nil
	}
	return b.takeKey(ctx, importedKey{settledKey: settledKey{*l.key, l.item.ID, r.State, l.item.AcceptedAt, b.s.now()}, seq: b.s.seqOf(l.item.ID)})
}

// known returns the receipt of a message that is here, or in this batch.
func (b *importBatch) known(ctx context.Context, id message.ID) (message.Receipt, error) {
	if b.ids[id] {
		return message.Receipt{}, nil
	}
	return b.s.receiptUnless(ctx, id, b.hidden)
}

// hidden is hiddenWhereabouts for many IDs that are not here, which come about in order:
// what was looked at for one is the stretch up to the next that is here, and most are in
// it. Each look opens all tables that have any.
func (b *importBatch) hidden(id message.ID) error {
	key := importKey(id)
	if b.none.has(key) || !b.s.mayHaveImported() {
		return nil
	}
	none := stretch{from: key}
	err := b.s.db.Scan(kv.Scan{Prefix: importPrefix, From: key, KeysOnly: true, Whole: true}, func(k, _ []byte) (bool, error) {
		none.to = bytes.Clone(k)
		return false, nil
	})
	if err != nil || bytes.Equal(none.to, key) { // what is damaged may be far behind it
		return b.s.hiddenWhereabouts(id)
	}
	b.none = none
	return nil
}

// stretch are the keys from one on, and below another; nil: all behind.
type stretch struct{ from, to []byte }

func (r *stretch) has(key []byte) bool {
	return r.from != nil && bytes.Compare(r.from, key) <= 0 && (r.to == nil || bytes.Compare(key, r.to) < 0)
}

func (b *importBatch) takeMessage(ctx context.Context, i *Item, key *exportedKey) error {
	n := &newMessage{
		msg: i.Message, size: i.Message.Size(), deliverAt: i.DeliverAt,
		imported: &broughtAlong{number: i.Message.TopicSeq, onHold: i.OnHold},
	}
	if key != nil {
		n.key, n.fingerprint = key.Hash, uint64(key.Fingerprint)
	}
	if i.State == message.StateDead {
		n.imported.dead = i
	}
	b.s.forTimer(n)
	if err := b.makeRoom(ctx, n.importedSize()); err != nil {
		return err
	}
	all := appendMessages{added: append(b.op.added, n)}
	if err := b.s.admit(ctx, &all); err != nil {
		return err
	}
	if n.size > b.s.sizes.inline {
		b.s.storeApart(n)
		b.apart += n.size
	}
	b.size += n.importedSize()
	b.op.appendMessages = all
	b.ids[i.ID] = true
	return nil
}

func (b *importBatch) takeKey(ctx context.Context, k importedKey) error {
	if err := b.makeRoom(ctx, importedKeySize); err != nil {
		return err
	}
	b.size += importedKeySize
	b.op.keys = append(b.op.keys, &k)
	return nil
}

// importedApart bounds the payloads of one commit that are stored apart, but for the last:
// their records alone would let some hundred of them share one.
const importedApart = 1 << 20

// makeRoom commits what is there when size more would be too much.
func (b *importBatch) makeRoom(ctx context.Context, size int) error {
	if b.size+size <= b.s.sizes.op && b.apart < importedApart || b.size == 0 {
		return nil
	}
	return b.flush(ctx)
}

// flush makes the batch durable. Of what does not come to a commit nothing stays.
func (b *importBatch) flush(ctx context.Context) error {
	if err := b.flushDecided(ctx); err != nil {
		return err
	}
	if b.size == 0 {
		return nil
	}
	op := b.op
	b.op, b.size, b.apart = importMessages{}, 0, 0
	clear(b.ids)
	err := b.s.lockKnowing(ctx, &op)
	b.s.mu.Unlock()
	if err != nil {
		b.s.dropPayloads(&op.appendMessages)
		return err
	}
	if err := b.s.commitOrDrop(ctx, &op, &op.appendMessages); err != nil {
		return err
	}
	if op.err != nil {
		return op.err
	}
	b.done.Messages += len(op.accepted)
	b.done.Known += op.repeats
	b.done.Conflicts += op.conflicts
	b.done.Keys += op.keysKept
	return nil
}
