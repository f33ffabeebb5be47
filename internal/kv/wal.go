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
// with uvarint lengths. A key ends with its version. A transaction's entries, of
// one version and in no order, carry bitTxn; one more entry, with the version in
// digits as its value, ends it (txn.go commitAndSend).
const (
	walHeader   = 20
	bitDelete   = 1 << 0
	bitTxn      = 1 << 6
	bitFinTxn   = 1 << 7
	versionSize = 8
	crcSize     = 4
	maxDigits   = 20
	maxWALKey   = 1 << 16
	maxWALHead  = 22 // maxHeaderSize in Badger's structs.go
)

var endKey = []byte("!badger!txn")

// walEntry is one entry of a log; its slices point into the log.
type walEntry struct {
	meta    byte
	key     []byte // without its version
	version uint64
	value   []byte
	size    int // bytes in the log
}

func (e walEntry) ends() bool { return e.meta&bitFinTxn != 0 }

// walShape is what the header of an entry says, its sizes in bytes.
type walShape struct {
	meta              byte
	header, key, rest int // rest: value and checksum
}

// versionOf is the version of the entry's key that b begins with.
func versionOf(b []byte, s walShape) uint64 {
	return math.MaxUint64 - binary.BigEndian.Uint64(b[s.header+s.key-versionSize:])
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
	if field[0] <= versionSize || field[0] > maxWALKey || field[1] > maxInline || field[2] != 0 {
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
	e = walEntry{meta: s.meta, key: key[:s.key-versionSize], value: b[s.header+s.key : sum], size: s.size()}
	e.version = math.MaxUint64 - binary.BigEndian.Uint64(key[s.key-versionSize:])
	return e, true
}

// transaction is a commit in a log.
type transaction struct {
	version uint64
	number  uint64 // by its seal, which is not proven
	size    int    // bytes in the log
}

// readTransaction reads the transaction that b begins with, if all of it is
// there.
func readTransaction(b []byte) (t transaction, ok bool) {
	for {
		e, ok := readEntry(b[t.size:])
		if !ok || t.size > 0 && e.version != t.version {
			return t, false
		}
		t.version = e.version
		t.size += e.size
		switch {
		case e.ends():
			return t, t.number > 0 && isEnd(e)
		case e.meta&bitTxn == 0:
			return t, false // this package writes transactions only
		case bytes.Equal(e.key, sealKey):
			t.number, _, _ = readSeal(e.value, e.version)
		}
	}
}

func isEnd(e walEntry) bool {
	return e.meta == bitFinTxn && bytes.Equal(e.key, endKey) && string(e.value) == strconv.FormatUint(e.version, 10)
}

// appendEntry writes an entry as Badger does.
func appendEntry(b []byte, meta byte, key []byte, version uint64, value []byte) []byte {
	start := len(b)
	b = append(b, meta, 0)
	b = binary.AppendUvarint(b, uint64(len(key)+versionSize))
	b = binary.AppendUvarint(b, uint64(len(value)))
	b = append(b, 0)
	b = append(b, key...)
	b = binary.BigEndian.AppendUint64(b, math.MaxUint64-version)
	b = append(b, value...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// appendEnd writes the end of a transaction.
func appendEnd(b []byte, version uint64) []byte {
	return appendEntry(b, bitFinTxn, endKey, version, strconv.AppendUint(nil, version, 10))
}
