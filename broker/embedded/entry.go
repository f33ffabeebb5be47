package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/remora-mq/remora/message"
)

// entryVersion is the first byte of every entry.
const entryVersion = 1

// entry is one stored copy of a message: what the broker knows of the copy,
// and the message's own record.
type entry struct {
	position uint64     // in the broker's log, from 1; what an offset message ID names
	origin   uint64     // position of the first appearance; 0: this is it
	id       message.ID // zero: produced without one
	storedAt int64      // milliseconds since 1970
	bornAt   int64      // of the first appearance, milliseconds since 1970
	attempt  int        // of the next delivery, from 1
	unit     uint64     // whose chunks hold the payload; 0: it is in the record
	chunks   int        // of the unit
	bytes    int        // that the copy counts for, chunks included
	record   []byte     // message.AppendRecord; it has its own CRC
}

var errEntry = errors.New("corrupt entry")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxEnvelope is what an entry may have in front of its record.
const maxEnvelope = 1 + 16 + 9*binary.MaxVarintLen64 + 4

// append writes version, ID, the numbers as uvarints, a CRC32C of all of that,
// and the record.
func (e *entry) append(dst []byte) []byte {
	start := len(dst)
	dst = append(append(dst, entryVersion), e.id[:]...)
	for _, v := range [...]uint64{
		e.position, e.origin, uint64(e.storedAt), uint64(e.bornAt),
		uint64(e.attempt), e.unit, uint64(e.chunks), uint64(e.bytes),
	} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	return append(dst, e.record...)
}

func decodeEntry(b []byte) (*entry, error) {
	if len(b) < 1+16 {
		return nil, errEntry
	}
	var v [8]uint64
	rest := b[1+16:]
	for i := range v {
		number, n := binary.Uvarint(rest)
		if n <= 0 {
			return nil, errEntry
		}
		v[i], rest = number, rest[n:]
	}
	envelope := b[:len(b)-len(rest)]
	if len(rest) < 4 || crc32.Checksum(envelope, castagnoli) != binary.LittleEndian.Uint32(rest) {
		return nil, errEntry
	}
	if b[0] != entryVersion { // after the CRC: else it is damage
		return nil, fmt.Errorf("entry of version %d: this program knows %d", b[0], entryVersion)
	}
	return &entry{
		id: message.ID(b[1:17]), position: v[0], origin: v[1], storedAt: int64(v[2]), bornAt: int64(v[3]),
		attempt: int(v[4]), unit: v[5], chunks: int(v[6]), bytes: int(v[7]), record: rest[4:],
	}, nil
}

// produced reports whether a producer stored the copy, and not the broker itself.
func (e *entry) produced() bool { return e.origin == 0 }

// first is the position of the message's first appearance.
func (e *entry) first() uint64 {
	if e.origin != 0 {
		return e.origin
	}
	return e.position
}

// identity is what the message is recognised by over all its copies.
func (e *entry) identity() string {
	if e.id.IsZero() {
		return offsetMessageID(e.first())
	}
	return e.id.String()
}

// offsetMessageID has the form of RocketMQ's: address, port and the position
// in the log, 32 hex digits (Java MessageDecoder.createMessageId).
func offsetMessageID(position uint64) string {
	id := [16]byte{0: 0x7F, 3: 1}
	binary.BigEndian.PutUint64(id[8:], position)
	return message.ID(id).String()
}

func millis(t time.Time) int64 { return t.UnixMilli() }
