package spool

import (
	"bytes"
	"errors"

	"github.com/remora-mq/remora/message"
)

var errNotKept = errors.New("what it keeps is not there")

// kept drops an entry of what is kept whose block or payload is gone, and writes
// one anew that cannot be read. A block without one is kept again by its lane, and so
// is one of which something is pending again, in its time.
func (b *books) kept(k, v []byte) error {
	x, damaged := decodeRetained(k, v)
	var err error
	if x.kind == retainedPayload {
		x.apart = &payload{}
		*x.apart, err = b.placeOf(message.Record{Message: message.Message{Seq: x.seq}})
	} else {
		x.count, err = b.countAt(&x)
	}
	if err == nil && x.kind == retainedPayload {
		b.payloads.add(x.seq)
	}
	switch {
	case isNewer(damaged):
		return damaged
	case err != nil:
		return errNotKept
	case x.kind == retainedBlock && b.waits(&x):
		b.notef("%s: a message of the block is pending again", nameOf(k))
		b.deletes = append(b.deletes, bytes.Clone(k))
	case damaged != nil:
		b.notef("%s: it was written anew", nameOf(k))
		b.sets = append(b.sets, pair{bytes.Clone(k), x.value()})
	}
	return nil
}

// waits reports whether a message of the block that x keeps is pending: it was a
// dead letter, which is lost, and is read from its block again.
func (b *books) waits(x *retainedEntry) bool {
	for seq := x.seq; seq < x.seq+uint64(x.count); seq++ {
		if b.held.has(seq) && !b.apart(seq) {
			return true
		}
	}
	return false
}

// countAt is how many messages the block has that x keeps.
func (b *books) countAt(x *retainedEntry) (int, error) {
	if _, err := b.r.Get(blockKey(x.topic, x.seq)); err != nil {
		return 0, err
	}
	v, err := b.r.Get(indexKey(x.seq))
	if err != nil {
		return 0, err
	}
	i, err := decodeIndex(v)
	if err == nil && i.topic != x.topic {
		err = errDamaged
	}
	return i.count, err
}

// unkept keeps a payload whose message has ended, and of which no entry says so:
// nobody else would ever delete it.
func (b *books) unkept(k, v []byte) error {
	seq := tail64(k, len(chunkSetPrefix))
	if !b.settled.has(seq) || b.payloads.has(seq) {
		return nil
	}
	x := retainedEntry{bucket: nanos(b.now()), seq: seq, kind: retainedPayload, apart: &payload{}}
	var err error
	if x.apart.set, x.apart.chunks, err = decodeChunkSet(v); err != nil {
		return err
	}
	x.bytes = x.apart.chunks * uint32(b.sizes.chunk)
	b.notef("%s: its message has ended; it is kept as others are", nameOf(k))
	b.sets = append(b.sets, pair{x.key(), x.value()})
	return nil
}

// unbar lets a message that is pending again be sent again later: its dead letter
// is lost.
func (b *books) unbar(seq uint64) {
	if b.retained.barred.has(seq) {
		b.retained.barred.drop(seq)
		b.deletes = append(b.deletes, barKey(seq))
	}
}

// bar writes a mark anew that cannot be read: its key says all that it says.
func (b *books) bar(k, v []byte) error {
	_, err := unseal(v)
	switch {
	case isNewer(err):
		return err
	case err != nil && b.retained.barred.has(tail64(k, len(barPrefix))):
		b.notef("%s: it was written anew", nameOf(k))
		b.sets = append(b.sets, pair{bytes.Clone(k), seal(nil)})
	}
	return nil
}
