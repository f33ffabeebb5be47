package spool

import (
	"bytes"

	"github.com/remora-mq/remora/message"
)

// place has a place in the index of due times written again if it is not there as it
// should be: nothing else finds in time what is due then. Of millions only those few are
// noted, which are to be in memory until all is read.
func (b *books) place(d due) {
	key := d.key()
	if v, err := b.r.Get(key); err != nil || !bytes.Equal(v, nothing) {
		b.sets = append(b.sets, pair{key, nothing})
	}
}

// delayedMessage counts a delayed message, and sees to its place in the index.
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
		if b.deletes = append(b.deletes, bytes.Clone(k)); !d.half() {
			b.deletes = append(b.deletes, d.due.key())
		}
		return nil
	}
	a := b.accountOf(id, d.record.Topic)
	if !b.hold(a, d.record) {
		return errPayload
	}
	if d.half() {
		b.head.format = max(b.head.format, formatHalf)
		b.halfMessage(a, &d)
	} else {
		a.delayed++
		b.place(d.due)
	}
	if a.id != id {
		b.move(k, delayedKey(seq, a.id), v)
	}
	return nil
}

// whereabouts doubts an entry sf that cannot be read. That of a held message is
// written anew; of a settled one it is not known any more where its receipt is.
func (b *books) whereabouts(_, v []byte) error {
	if _, ok := decodeWhereabouts(v); !ok {
		return errDamaged
	}
	return nil
}

// leadTo has the entry written anew by which a held message is found, if its ID
// leads elsewhere: it was moved, or imported, and that entry is lost; or it is back
// where it was before.
func (b *books) leadTo(m *message.Message) {
	seq := uint64(m.ID.Seq32())
	want := m.Seq & 0xffffffff
	if v, err := b.r.Get(importKey(m.ID)); err == nil {
		if told, ok := decodeWhereabouts(v); ok {
			seq, want = told.seq, m.Seq
		} else {
			seq, want = 0, m.Seq
		}
	}
	if seq != want {
		b.notef("sequence %d: its ID did not lead to it", m.Seq)
		b.sets = append(b.sets, pair{importKey(m.ID), whereabouts{seq: m.Seq}.encode()})
		b.hasImported = true
	}
}

// countMoved counts a message of a topic whose counters are lost, if it had another
// sequence before: that is settled, and accounted for by nothing else.
func (b *books) countMoved(a *account, id message.ID, seq uint64) {
	if !a.rebuilt || seq&0xffffffff == uint64(id.Seq32()) {
		return
	}
	moved := id.Spool() == b.head.spoolID // else it may have been imported
	if v, err := b.r.Get(importKey(id)); err == nil {
		told, ok := decodeWhereabouts(v)
		moved = moved || ok && told.seq == seq && told.since > 0
	}
	if moved {
		a.counts.moved++
	}
}
