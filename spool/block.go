package spool

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/remora-mq/remora/message"
)

// block is a run of messages of one commit and topic, sequences without a gap.
// As an entry: the number of records, then the records.
type block struct {
	topic    uint32
	firstSeq uint64
	count    int
	origin   message.SpoolID // of all of them
	number   uint64          // of the first in its topic
	value    []byte          // from the third byte: the first two hold the count
}

const blockHeader = 2

// maxBlockCount is the most messages that a block can have.
const maxBlockCount = 1<<16 - 1

// newBlock returns an empty block, which first will begin and whose records go
// into room.
func newBlock(topic uint32, first *message.Message, room []byte) *block {
	return &block{
		topic: topic, firstSeq: first.Seq, origin: first.ID.Spool(), number: first.TopicSeq,
		value: append(room, make([]byte, blockHeader)...),
	}
}

// cost is what its messages take in memory, in bytes.
func (b *block) cost() int64 { return int64(len(b.value) + entryCost*b.count) }

// add appends a message.
func (b *block) add(n *newMessage) {
	b.value = n.appendRecord(b.value)
	b.count++
	binary.BigEndian.PutUint16(b.value, uint16(b.count))
}

// full reports whether another record of size bytes belongs into a new block.
func (b *block) full(size, limit int) bool {
	return b.count > 0 && (len(b.value)+size > limit || b.count == maxBlockCount)
}

// records decodes the records of a block's value in order, all that can be
// read: one that cannot is left out if the others follow where its length says,
// or from where they lead to the end. The error says that some were not read, or
// that their number is another.
func records(value []byte, fn func(message.Record)) error {
	if len(value) < blockHeader {
		return errDamaged
	}
	count, n := int(binary.BigEndian.Uint16(value)), 0
	var broken error
	eachRecord(value, func(r message.Record, _ int, err error) {
		if err != nil {
			broken = errors.Join(broken, err)
			return
		}
		fn(r)
		n++
	})
	if broken == nil && n != count { // no CRC covers the count
		return fmt.Errorf("%d records, the count is %d: %w", n, count, errDamaged)
	}
	return broken
}

// eachRecord walks over a block's value. With an error, size is how much cannot
// be read.
func eachRecord(value []byte, fn func(r message.Record, size int, err error)) {
	count, last := blockCount(value), uint64(0)
	rest := value[min(blockHeader, len(value)):]
	for i := 0; len(rest) > 0; i++ {
		r, size, err := message.DecodeRecord(rest)
		if err != nil {
			err = fmt.Errorf("record %d of %d: %w", i+1, count, err)
			if size = message.RecordSize(rest); !endsWhole(rest, size, count-i-1) {
				size = message.Resume(rest, last)
			}
			if size == 0 {
				size = len(rest)
			}
		} else {
			last = r.Seq
		}
		fn(r, size, err)
		rest = rest[size:]
	}
}

// endsWhole reports whether behind records follow the first n bytes of b, up to
// its end, with one that is whole among them, if any is to follow.
func endsWhole(b []byte, n, behind int) bool {
	whole := behind == 0
	for ; n < len(b) && behind > 0; behind-- {
		if !whole {
			_, _, err := message.DecodeRecord(b[n:])
			whole = err == nil
		}
		n += message.RecordSize(b[n:])
	}
	return whole && n == len(b) && behind == 0
}

// index is what the entry si tells of a block, also when the block is gone:
// whose messages it had, and which numbers.
type index struct {
	topic  uint32
	count  int
	origin message.SpoolID
	number uint64 // of the first
}

func (b *block) index() index { return index{b.topic, b.count, b.origin, b.number} }

func (x index) encode() []byte {
	b := binary.AppendUvarint(make([]byte, 0, 32), uint64(x.topic))
	b = binary.AppendUvarint(b, uint64(x.count))
	if x.number > 0 {
		b = binary.AppendUvarint(append(b, x.origin[:]...), x.number)
	}
	return seal(b)
}

// covers reports whether x is the index of a block that was read as y: of a
// damaged one it may know of more.
func (x index) covers(y index, damaged bool) bool {
	if damaged && x.count > y.count {
		y.count = x.count
		if y.number == 0 {
			y.origin, y.number = x.origin, x.number
		}
	}
	return x == y
}

func decodeIndex(v []byte) (index, error) {
	b, err := unseal(v)
	if err != nil {
		return index{}, fmt.Errorf("read index: %w", err)
	}
	f := fields{b: b}
	x := index{topic: uint32(f.uint()), count: int(f.uint())}
	if len(f.b) > 0 { // else its messages have no numbers
		copy(x.origin[:], f.raw(len(x.origin)))
		x.number = f.uint()
		f.failed = f.failed || x.number == 0 // an origin has numbers from 1
	}
	return x, f.err("read index")
}
