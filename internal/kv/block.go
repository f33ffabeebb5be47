package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// tableEntry is one version of a key in a table. Its slices are its own.
type tableEntry struct {
	key     []byte
	version uint64
	deleted bool
	value   []byte
}

// tableReader is told what a table holds. entry may be nil: then blocks are
// only checked. With an owner it gets what is certain of a broken block, too.
type tableReader struct {
	entry  func(tableEntry) error
	broken func(from, to int64, why error) // to 0: to the end
	owner  Owner
	unsure func(tableEntry) error // gets what can be told of a broken block, right or not; nil: nobody does
}

// read goes through the blocks. The index says where they are; without it each
// is found by its checksum after the one before, up to the first broken one.
func (r tableReader) read(data []byte) error {
	index, end, err := splitTable(data)
	if err != nil {
		r.broken(int64(end), 0, err)
		return r.sequence(data[:end])
	}
	for _, b := range index.blocks {
		if b.to > int64(end) {
			r.broken(b.from, b.to, errors.New("block stands after the index begins"))
			continue
		}
		if err := r.block(data[b.from:b.to], b, index.reach); err != nil {
			return err
		}
	}
	return nil
}

// splitTable returns the index of a table and where the blocks end; after an
// error that is where they could end at most.
func splitTable(data []byte) (index tableIndex, end int, err error) {
	index, start, err := new(tableBuffers).indexIn(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return index, len(data), err
	}
	return index, int(start), nil
}

func (r tableReader) block(b []byte, p blockPlace, reach uint64) error {
	body, err := verifyBlock(b)
	if err != nil {
		r.broken(p.from, p.to, err)
		return r.salvage(b, p, reach)
	}
	return r.entries(body, p.from)
}

// verifyBlock returns the block without its checksum.
func verifyBlock(b []byte) (body []byte, err error) {
	t := tail{file: bytes.NewReader(b), end: int64(len(b))}
	sum := t.section("block checksum", nil)
	if t.err != nil {
		return nil, t.err
	}
	body = b[:t.end]
	if err := verify(body, sum); err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	return body, nil
}

// sequence finds blocks by trying, at each place where a checksum could stand,
// whether it is that of the bytes since the last block.
func (r tableReader) sequence(data []byte) error {
	start, summed := 0, 0 // sum is that of data[start:summed]
	var sum uint32
	for end := range data {
		want, size := checksumAt(data[start : end+1])
		if size == 0 {
			continue
		}
		body := end + 1 - size
		if upTo := body - maxChecksum; upTo > summed { // a later one may be longer
			sum, summed = crc32.Update(sum, castagnoli, data[summed:upTo]), upTo
		}
		if crc32.Update(sum, castagnoli, data[summed:body]) != want {
			continue
		}
		if err := r.entries(data[start:body], int64(start)); err != nil {
			return err
		}
		start, summed, sum = end+1, end+1, 0
	}
	return nil
}

// maxChecksum is the size of a block's checksum, its kind left out because
// CRC-32C is kind 0: field 2 of a message, a varint, and their length.
const maxChecksum = 1 + 5 + 4

// checksumAt reads the checksum with which b ends; size 0: it is none.
func checksumAt(b []byte) (sum uint32, size int) {
	const length, field = 4, 0x10
	if len(b) < length+2 {
		return 0, 0
	}
	n := int(binary.BigEndian.Uint32(b[len(b)-length:]))
	if n < 2 || n+length > maxChecksum || len(b) < length+n {
		return 0, 0
	}
	raw := b[len(b)-length-n : len(b)-length]
	v, read := binary.Uvarint(raw[1:])
	if raw[0] != field || read != n-1 {
		return 0, 0
	}
	return uint32(v), n + length
}

var errEntry = errors.New("entries of a whole block cannot be read")

// entries reads a verified block: entries, their offsets and number
// (table/builder.go addHelper, finishBlock).
func (r tableReader) entries(body []byte, from int64) error {
	if r.entry == nil {
		return nil
	}
	offsets, data, ok := splitBlock(body)
	if !ok {
		r.broken(from, from+int64(len(body)), errEntry)
		return nil
	}
	var base []byte
	for n, at := range offsets {
		end := len(data)
		if n+1 < len(offsets) {
			end = offsets[n+1]
		}
		e, key, ok := readTableEntry(data, at, end, base)
		if !ok {
			r.broken(from+int64(at), from+int64(end), errEntry)
			return nil
		}
		if n == 0 {
			base = key
		}
		if err := r.entry(e); err != nil {
			return err
		}
	}
	return nil
}

func splitBlock(body []byte) (offsets []int, data []byte, ok bool) {
	const word = 4
	end := len(body) - word
	if end < 0 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint32(body[end:]))
	start := end - n*word
	if n == 0 || n > end/word {
		return nil, nil, false
	}
	offsets = make([]int, n)
	for i := range offsets {
		offsets[i] = int(binary.LittleEndian.Uint32(body[start+i*word:]))
	}
	return offsets, body[:start], true
}

// lastKey is that of a verified block; nil: it cannot be read. It leaves the values
// alone, of which one may be the block.
func lastKey(body []byte) []byte {
	offsets, data, ok := splitBlock(body)
	if !ok {
		return nil
	}
	last := len(offsets) - 1
	end := len(data)
	if last > 0 {
		end = offsets[1]
	}
	key, _, ok := readTableKey(data, offsets[0], end, nil)
	if ok && last > 0 {
		key, _, ok = readTableKey(data, offsets[last], len(data), key)
	}
	if !ok {
		return nil
	}
	return userKey(key)
}

// readTableEntry reads data[at:end]: how much its key shares with base, the
// rest of the key, meta, user meta, expiry, value.
func readTableEntry(data []byte, at, end int, base []byte) (e tableEntry, key []byte, ok bool) {
	key, value, ok := readTableKey(data, at, end, base)
	if !ok {
		return e, nil, false
	}
	_, n := binary.Uvarint(data[value+2 : end])
	if n <= 0 {
		return e, nil, false
	}
	name := len(key) - versionSize
	return tableEntry{
		key: key[:name:name], version: math.MaxUint64 - binary.BigEndian.Uint64(key[name:]),
		deleted: data[value]&bitDelete != 0, value: bytes.Clone(data[value+2+n : end]),
	}, key, true
}

// readTableKey reads the key of an entry, with its version, and where what follows it
// begins.
func readTableKey(data []byte, at, end int, base []byte) (key []byte, value int, ok bool) {
	const header = 4
	if at < 0 || end > len(data) || at+header > end {
		return nil, 0, false
	}
	shared, own := int(binary.LittleEndian.Uint16(data[at:])), int(binary.LittleEndian.Uint16(data[at+2:]))
	value = at + header + own
	if shared > len(base) || value+2 > end || shared+own <= versionSize {
		return nil, 0, false
	}
	return append(bytes.Clone(base[:shared]), data[at+header:value]...), value, true
}
