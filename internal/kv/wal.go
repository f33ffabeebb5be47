package kv

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"strconv"
)

// Badger's write-ahead log (memtable.go bootstrap, encodeEntry; structs.go
// header.Encode): a header of 20 bytes, key ID and IV, then entries
//
//	meta | user meta | key length | value length | expiry | key | value | CRC-32C
//
// with uvarint lengths. A key ends with its version, the commit timestamp. A
// transaction's entries carry bitTxn; one more entry, with the timestamp in
// digits as its value, ends it (txn.go commitAndSend).
const (
	walHeader  = 20
	bitDelete  = 1 << 0
	bitTxn     = 1 << 6
	bitFinTxn  = 1 << 7
	tsSize     = 8
	crcSize    = 4
	maxDigits  = 20
	maxWALKey  = 1 << 16
	maxWALHead = 22 // maxHeaderSize in Badger's structs.go
)

var endKey = []byte("!badger!txn")

// walEntry is one entry of a log; its slices point into the log.
type walEntry struct {
	meta  byte
	key   []byte // without its version
	ts    uint64 // its version
	value []byte
	size  int // bytes in the log
}

func (e walEntry) ends() bool { return e.meta&bitFinTxn != 0 }

// walShape is what the header of an entry says, its sizes in bytes.
type walShape struct {
	meta              byte
	header, key, rest int // rest: value and checksum
}

// versionOf is the version of the entry's key that b begins with.
func versionOf(b []byte, s walShape) uint64 {
	return math.MaxUint64 - binary.BigEndian.Uint64(b[s.header+s.key-tsSize:])
}

func (s walShape) size() int { return s.header + s.key + s.rest }

// readShape reads a header and refuses what no log of ours holds.
func readShape(b []byte) (s walShape, ok bool) {
	if len(b) < 2 || b[1] != 0 {
		return s, false
	}
	at := 2
	var field [3]uint64 // key length, value length, expiry
	for i := range field {
		v, n := binary.Uvarint(b[at:min(len(b), maxWALHead)])
		if n <= 0 {
			return s, false
		}
		field[i] = v
		at += n
	}
	if field[0] <= tsSize || field[0] > maxWALKey || field[1] > maxInline || field[2] != 0 {
		return s, false
	}
	return walShape{b[0], at, int(field[0]), int(field[1]) + crcSize}, true
}

// readEntry reads the entry that b begins with, if its checksum holds.
func readEntry(b []byte) (e walEntry, ok bool) {
	s, ok := readShape(b)
	if !ok || s.size() > len(b) {
		return e, false
	}
	sum := s.size() - crcSize
	if crc32.Checksum(b[:sum], castagnoli) != binary.BigEndian.Uint32(b[sum:]) {
		return e, false
	}
	key := b[s.header : s.header+s.key]
	e = walEntry{meta: s.meta, key: key[:s.key-tsSize], value: b[s.header+s.key : sum], size: s.size()}
	e.ts = math.MaxUint64 - binary.BigEndian.Uint64(key[s.key-tsSize:])
	return e, true
}

// readTransaction reads the transaction that b begins with, if all of it is
// there.
func readTransaction(b []byte) (ts uint64, size int, ok bool) {
	for {
		e, ok := readEntry(b[size:])
		if !ok || ts != 0 && e.ts != ts {
			return 0, 0, false
		}
		ts = e.ts
		size += e.size
		switch {
		case e.ends():
			return ts, size, isEnd(e)
		case e.meta&bitTxn == 0:
			return 0, 0, false // this package writes transactions only
		}
	}
}

func isEnd(e walEntry) bool {
	return e.meta == bitFinTxn && bytes.Equal(e.key, endKey) && string(e.value) == strconv.FormatUint(e.ts, 10)
}

// appendEntry writes an entry as Badger does.
func appendEntry(b []byte, meta byte, key []byte, ts uint64, value []byte) []byte {
	start := len(b)
	b = append(b, meta, 0)
	b = binary.AppendUvarint(b, uint64(len(key)+tsSize))
	b = binary.AppendUvarint(b, uint64(len(value)))
	b = append(b, 0)
	b = append(b, key...)
	b = binary.BigEndian.AppendUint64(b, math.MaxUint64-ts)
	b = append(b, value...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// appendEnd writes the end of a transaction.
func appendEnd(b []byte, ts uint64) []byte {
	return appendEntry(b, bitFinTxn, endKey, ts, strconv.AppendUint(nil, ts, 10))
}
