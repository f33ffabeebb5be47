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

// newBlock returns an empty block, which first will begin and whose records go
// into room.
func newBlock(topic uint32, first *message.Message, room []byte) *block {
	return &block{
		topic: topic, firstSeq: first.Seq, origin: first.ID.Spool(), number: first.TopicSeq,
		value: append(room, make([]byte, blockHeader)...),
	}
}

// add appends m; external is its payload when that is stored apart.
func (b *block) add(m *message.Message, external []byte) {
	if external != nil {
		b.value = message.AppendExternalRecord(b.value, m, external)
	} else {
		b.value = message.AppendRecord(b.value, m)
	}
	b.count++
	binary.BigEndian.PutUint16(b.value, uint16(b.count))
}

// full reports whether another record of size bytes belongs into a new block.
func (b *block) full(size, limit int) bool {
	return b.count > 0 && (len(b.value)+size > limit || b.count == 1<<16-1)
}

// errRecords reports that some records of a block cannot be read, and that all
// others were: the count is right.
var errRecords = errors.New("damaged records")

// records decodes the records of a block's value in order. One that cannot be
// decoded is left out if the others follow where its length says; else it ends the
// walk.
func records(value []byte, fn func(message.Record)) error {
	if len(value) < blockHeader {
		return errDamaged
	}
	count := int(binary.BigEndian.Uint16(value))
	rest := value[blockHeader:]
	var damaged []error
	for i := range count {
		r, n, err := message.DecodeRecord(rest)
		if err != nil {
			err = fmt.Errorf("record %d of %d: %w", i+1, count, err)
			if n = message.RecordSize(rest); !endsWhole(rest, n, count-i-1) {
				return err
			}
			damaged, rest = append(damaged, err), rest[n:]
			continue
		}
		fn(r)
		rest = rest[n:]
	}
	if len(rest) > 0 { // no CRC covers the count
		return fmt.Errorf("%d bytes after %d records: %w", len(rest), count, errDamaged)
	}
	if len(damaged) > 0 {
		return fmt.Errorf("%w: %w", errRecords, errors.Join(damaged...))
	}
	return nil
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
	}
	return x, f.err("read index")
}
