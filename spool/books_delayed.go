package spool

import "bytes"

// delayedMessage counts a delayed message, and has its place in the index written
// again: nothing else tells when it is due.
func (b *books) delayedMessage(k, v []byte) error {
	seq, id := tail64(k, len(delayedPrefix)), tail32(k, len(delayedPrefix)+8)
	b.highest = max(b.highest, seq)
	d, err := decodeDelayed(v)
	if err == nil && d.record.Seq != seq {
		err = errDamaged
	}
	if err != nil {
		if l := b.byID[id]; l != nil && !b.settled.has(seq) {
			b.topicOf[seq] = l
		}
		return err
	}
	if b.settled.has(seq) {
		b.deletes = append(b.deletes, bytes.Clone(k), d.due.key())
		return nil
	}
	a := b.accountOf(id, d.record.Topic)
	if !b.hold(a, d.record) {
		return errPayload
	}
	a.delayed++
	b.sets = append(b.sets, pair{d.due.key(), seal(nil)})
	if a.id != id {
		b.move(k, delayedKey(seq, a.id), v)
	}
	return nil
}
