package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// recordVersion is the first byte of every record.
const recordVersion = 1

// ErrCorrupt reports bytes that are not a whole, intact record.
var ErrCorrupt = errors.New("corrupt record")

// ErrVersion reports a record of a format newer than this program.
var ErrVersion = errors.New("record of a newer format")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Record is a message as the spool stores it:
//
//	version  1 byte
//	flags    1 byte: bit 0, the payload is stored elsewhere; bit 1, it has a topic sequence; bit 2, a TTL
//	length   uvarint: of everything between it and the CRC
//	seq      uvarint
//	topicseq uvarint, with bit 1
//	id       16 bytes
//	accepted uvarint: milliseconds since 1970
//	ttl      uvarint, with bit 2: milliseconds, from 1
//	expires  uvarint, with bit 2: milliseconds since 1970, by the spool's clock; 0: the TTL has not begun
//	topic    uvarint length, bytes
//	ordering uvarint length, bytes: the ordering key
//	payload  inline: the rest; elsewhere: size uvarint, its CRC32C 4 bytes
//	crc      4 bytes, little endian: CRC32C of all before it
//
// The payload (tag, keys, properties, body) is set apart because it may be
// large: then it is stored first, in chunks, and the record makes it exist.
type Record struct {
	Message // without the payload's fields when PayloadSize is set

	PayloadSize int    // bytes stored elsewhere; 0: the payload is inline
	PayloadCRC  uint32 // CRC32C of the payload stored elsewhere
}

const (
	flagExternal = 1 << iota
	flagTopicSeq
	flagTTL

	knownFlags = flagExternal | flagTopicSeq | flagTTL
)

// maxPayload is far above what Validate lets in; a larger size is damage.
const maxPayload = 1 << 28

// AppendRecord appends the record of m to dst, with its payload inline.
func AppendRecord(dst []byte, m *Message) []byte {
	return appendRecord(dst, m, 0, func(b []byte) []byte { return AppendPayload(b, m) })
}

// AppendExternalRecord appends the record of m whose payload, as made by
// AppendPayload, is stored elsewhere.
func AppendExternalRecord(dst []byte, m *Message, payload []byte) []byte {
	return appendRecord(dst, m, flagExternal, func(b []byte) []byte {
		b = binary.AppendUvarint(b, uint64(len(payload)))
		return binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	})
}

// AppendAgain appends a record that was decoded: its message may have another
// sequence since; its payload stays where it is.
func AppendAgain(dst []byte, r *Record) []byte {
	if r.PayloadSize == 0 {
		return AppendRecord(dst, &r.Message)
	}
	return appendRecord(dst, &r.Message, flagExternal, func(b []byte) []byte {
		b = binary.AppendUvarint(b, uint64(r.PayloadSize))
		return binary.LittleEndian.AppendUint32(b, r.PayloadCRC)
	})
}

// ExternalRecord is what DecodeRecord will read of m when its payload is stored
// elsewhere.
func ExternalRecord(m *Message, payload []byte) Record {
	return Record{
		Message: Message{
			ID: m.ID, Seq: m.Seq, TopicSeq: m.TopicSeq, AcceptedAt: m.AcceptedAt, TTL: m.TTL, ExpiresAt: m.ExpiresAt,
			Topic: m.Topic, OrderingKey: m.OrderingKey,
		},
		PayloadSize: len(payload), PayloadCRC: crc32.Checksum(payload, castagnoli),
	}
}

// lengthBytes is the width of the length field: a padded uvarint, so that it
// can be filled in after the rest is written. Records stay below 2^28 bytes.
const lengthBytes = 4

func appendRecord(dst []byte, m *Message, flags byte, tail func([]byte) []byte) []byte {
	start := len(dst)
	if m.TopicSeq > 0 {
		flags |= flagTopicSeq
	}
	if m.TTL > 0 {
		flags |= flagTTL
	}
	dst = append(dst, recordVersion, flags)
	lengthAt := len(dst)
	dst = append(dst, make([]byte, lengthBytes)...)
	dst = binary.AppendUvarint(dst, m.Seq)
	if m.TopicSeq > 0 {
		dst = binary.AppendUvarint(dst, m.TopicSeq)
	}
	dst = append(dst, m.ID[:]...)
	dst = binary.AppendUvarint(dst, uint64(m.AcceptedAt.UnixMilli()))
	if m.TTL > 0 {
		dst = appendTTL(dst, m)
	}
	dst = appendString(dst, m.Topic)
	dst = appendString(dst, m.OrderingKey)
	dst = tail(dst)
	putPaddedUvarint(dst[lengthAt:], uint32(len(dst)-lengthAt-lengthBytes))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func appendTTL(dst []byte, m *Message) []byte {
	expires := uint64(0)
	if !m.ExpiresAt.IsZero() {
		expires = uint64(m.ExpiresAt.UnixMilli())
	}
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(m.TTL.Milliseconds())), expires)
}

// minRecord is the size of a record without anything between length and CRC.
const minRecord = 2 + lengthBytes + 4

// RecordSize is how long the record at the start of b says that it is. Only
// DecodeRecord tells whether that is true.
func RecordSize(b []byte) int {
	if len(b) < minRecord {
		return minRecord
	}
	length, _ := binary.Uvarint(b[2 : 2+lengthBytes])
	return minRecord + int(length)
}

// AppendUnreadable appends what stands for a record that is lost: it has a size,
// and DecodeRecord calls it corrupt.
func AppendUnreadable(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, recordVersion, 0)
	dst = append(dst, make([]byte, lengthBytes)...)
	putPaddedUvarint(dst[start+2:], 0)
	return binary.LittleEndian.AppendUint32(dst, ^crc32.Checksum(dst[start:], castagnoli))
}

func putPaddedUvarint(b []byte, v uint32) {
	for i := range lengthBytes {
		b[i] = byte(v>>(7*i)) & 0x7f
		if i < lengthBytes-1 {
			b[i] |= 0x80
		}
	}
}

// DecodeRecord reads the record at the start of b and returns its length. The
// message shares no memory with b. Errors are ErrCorrupt or ErrVersion.
func DecodeRecord(b []byte) (Record, int, error) {
	body, n, flags, err := frame(b)
	if err != nil {
		return Record{}, 0, err
	}
	d := decoder{b: body}
	var r Record
	r.Seq = d.uvarint()
	if flags&flagTopicSeq != 0 {
		r.TopicSeq = d.uvarint()
	}
	copy(r.ID[:], d.bytes(len(r.ID)))
	r.AcceptedAt = time.UnixMilli(int64(d.uvarint()))
	if flags&flagTTL != 0 {
		r.readTTL(&d)
	}
	r.Topic, r.OrderingKey = d.string(), d.string()
	if flags&flagExternal != 0 {
		r.readExternal(&d)
	} else if !d.failed {
		if err := r.setPayload(d.b); err != nil {
			return Record{}, 0, err
		}
	}
	if d.failed {
		return Record{}, 0, ErrCorrupt
	}
	return r, n, nil
}

// farthest is far behind all times that there are, in milliseconds since 1970.
const farthest = 1 << 53

// readTTL reads what appendTTL wrote, and nothing else.
func (r *Record) readTTL(d *decoder) {
	ttl, expires := d.uvarint(), d.uvarint()
	if ttl == 0 || ttl > uint64(MaxTTL.Milliseconds()) || expires > farthest {
		d.failed = true
		return
	}
	r.TTL = time.Duration(ttl) * time.Millisecond
	if expires > 0 {
		r.ExpiresAt = time.UnixMilli(int64(expires))
	}
}

// readExternal reads where the payload is not: how large it is, and its CRC.
func (r *Record) readExternal(d *decoder) {
	r.PayloadSize = int(min(d.uvarint(), maxPayload+1))
	if crc := d.bytes(4); len(crc) == 4 {
		r.PayloadCRC = binary.LittleEndian.Uint32(crc)
	}
	if r.PayloadSize == 0 || r.PayloadSize > maxPayload || len(d.b) != 0 {
		d.failed = true
	}
}

// frame checks version, length and CRC; it returns what lies between length
// and CRC, and the length of the whole.
func frame(b []byte) (body []byte, n int, flags byte, err error) {
	if len(b) < minRecord {
		return nil, 0, 0, ErrCorrupt
	}
	length, c := binary.Uvarint(b[2 : 2+lengthBytes])
	end := 2 + lengthBytes + int(length)
	if c != lengthBytes || end+4 > len(b) {
		return nil, 0, 0, ErrCorrupt
	}
	if crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return nil, 0, 0, ErrCorrupt
	}
	if b[0] != recordVersion { // after the CRC: a flipped bit here is damage, not a newer format
		return nil, 0, 0, fmt.Errorf("%w: version %d", ErrVersion, b[0])
	}
	if b[1]&^knownFlags != 0 {
		return nil, 0, 0, fmt.Errorf("%w: flags %#x", ErrVersion, b[1])
	}
	return b[2+lengthBytes : end], end + 4, b[1], nil
}

// SetPayload fills in the payload of a record that is stored elsewhere, after
// checking it against the record's own CRC.
func (r *Record) SetPayload(payload []byte) error {
	if len(payload) != r.PayloadSize || crc32.Checksum(payload, castagnoli) != r.PayloadCRC {
		return fmt.Errorf("payload of message %s: %w", r.ID, ErrCorrupt)
	}
	return r.setPayload(payload)
}

func (r *Record) setPayload(payload []byte) error {
	d := decoder{b: payload}
	r.Tag = d.string()
	r.ContentType, r.ContentEncoding = d.string(), d.string()
	r.TraceParent, r.TraceState = d.string(), d.string()
	for range d.count() {
		r.Keys = append(r.Keys, d.string())
	}
	for range d.count() {
		if p := (Property{Name: d.string(), Value: d.string()}); !r.takeTimer(p) {
			r.Properties = append(r.Properties, p)
		}
	}
	if d.failed {
		return ErrCorrupt
	}
	r.Body = append([]byte(nil), d.b...)
	return nil
}

// AppendPayload appends the part of m that may be large.
func AppendPayload(dst []byte, m *Message) []byte {
	for _, s := range [...]string{m.Tag, m.ContentType, m.ContentEncoding, m.TraceParent, m.TraceState} {
		dst = appendString(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.Keys)))
	for _, k := range m.Keys {
		dst = appendString(dst, k)
	}
	properties := uint64(len(m.Properties))
	if !m.Timer.IsZero() {
		properties++
	}
	dst = binary.AppendUvarint(dst, properties)
	for _, p := range m.Properties {
		dst = appendProperty(dst, p)
	}
	if !m.Timer.IsZero() {
		dst = appendProperty(dst, m.Timer.property())
	}
	return append(dst, m.Body...)
}

func appendProperty(dst []byte, p Property) []byte {
	return appendString(appendString(dst, p.Name), p.Value)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// decoder reads fields off the front of b; after a short read it is failed and
// yields zero values.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.failed, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.failed, d.b = true, nil
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) string() string { return string(d.bytes(int(min(d.uvarint(), 1<<30)))) }

// count reads a number of items, each at least one byte long, so that a broken
// number cannot ask for more than there is.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.failed, d.b = true, nil
		return 0
	}
	return int(n)
}
