package spool

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/message"
)

// An encrypted block has the number of records of a plain one, and for each of
// them a frame:
//
//	version  1 byte: versionEncrypted
//	position 2 bytes, big endian: of the record in its block
//	length   4 bytes, big endian: of the box alone
//	box      has the record, bound to the block's key and this position
//	crc      4 bytes, little endian: CRC32C of all before it
//
// So a damaged one costs no other: those behind it are found by their frames.
type frame struct {
	position int
	box      []byte
	size     int // of the whole
}

const (
	frameHead      = 1 + 2 + 4
	recordOverhead = frameHead + keyring.Overhead + 4
)

func encryptBlock(ring *keyring.Ring, dst, key, value []byte) []byte {
	dst = append(dst, value[:blockHeader]...)
	for n, rest := 0, value[blockHeader:]; len(rest) > 0; n++ {
		size := min(message.RecordSize(rest), len(rest))
		dst = appendFrame(ring, dst, key, n, rest[:size])
		rest = rest[size:]
	}
	return dst
}

func appendFrame(ring *keyring.Ring, dst, key []byte, position int, record []byte) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint16(append(dst, versionEncrypted), uint16(position))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(record)+keyring.Overhead))
	dst = ring.Encrypt(dst, record, framePlace(key, position))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func framePlace(key []byte, position int) []byte {
	return binary.BigEndian.AppendUint16(append(make([]byte, 0, 32), key...), uint16(position))
}

// frameAt reads the frame at the start of b.
func frameAt(b []byte) (f frame, ok bool) {
	if len(b) < recordOverhead || b[0] != versionEncrypted {
		return f, false
	}
	end := frameHead + int(binary.BigEndian.Uint32(b[3:]))
	if end > len(b)-4 || crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return f, false
	}
	return frame{int(binary.BigEndian.Uint16(b[1:])), b[frameHead:end], end + 4}, true
}

// nextFrame returns what is left of b from the next whole frame on.
func nextFrame(b []byte) []byte {
	for ; len(b) > 0; b = b[1:] {
		if _, ok := frameAt(b); ok {
			break
		}
	}
	return b
}

// decryptBlock returns the block as it was before encryptBlock. In place of each
// record that cannot be read stands one that cannot be read either, but has a length.
func decryptBlock(ring *keyring.Ring, key, v []byte) []byte {
	if !isEncryptedBlock(v) {
		return v
	}
	out := append(make([]byte, 0, len(v)), v[:blockHeader]...)
	next, end := 0, blockHeader // position, and byte behind the last whole frame
	for rest := nextFrame(v[end:]); len(rest) > 0; rest = nextFrame(v[end:]) {
		f, _ := frameAt(rest)
		end = len(v) - len(rest) + f.size
		plain, err := ring.Decrypt(f.box, framePlace(key, f.position))
		if err != nil || f.position < next {
			continue
		}
		out = append(appendLost(out, f.position-next), plain...)
		next = f.position + 1
	}
	if lost := blockCount(v) - next; len(v)-end >= lost*recordOverhead { // else it is the count that is wrong
		out = appendLost(out, lost)
	}
	return out
}

// isEncryptedBlock tells a block of frames from one of plain records. Damage of
// the first byte makes neither the other.
func isEncryptedBlock(v []byte) bool {
	return len(v) > blockHeader && v[blockHeader] != FormatVersion
}

func appendLost(b []byte, n int) []byte {
	for range n {
		b = message.AppendUnreadable(b)
	}
	return b
}

func blockCount(v []byte) int {
	if len(v) < blockHeader {
		return 0
	}
	return int(binary.BigEndian.Uint16(v))
}

// blockKeyID is the key of a block's first frame that is whole: all records of a
// block were written at once.
func blockKeyID(v []byte) (id keyring.ID, ok bool) {
	if !isEncryptedBlock(v) {
		return id, len(v) > blockHeader
	}
	f, ok := frameAt(nextFrame(v[blockHeader:]))
	if !ok {
		return id, false
	}
	return keyring.IDOf(f.box)
}
