package seen

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/bits"
)

// blockShift: a block has 1,024 numbers.
const (
	blockShift = 10
	perBlock   = 1 << blockShift
	words      = perBlock / 64
)

const (
	blockVersion = 1
	allHandled   = 1 << 0 // no bitmap follows: every number was
	someDead     = 1 << 1 // a second bitmap follows
	// maxBlock is what encode returns at most.
	maxBlock = 2 + binary.MaxVarintLen64 + 2*perBlock/8 + 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errDamaged = errors.New("record of handled messages is damaged")
)

type bitmap [words]uint64

func (m *bitmap) has(i uint) bool { return m[i/64]&(1<<(i%64)) != 0 }
func (m *bitmap) set(i uint)      { m[i/64] |= 1 << (i % 64) }
func (m *bitmap) clear(i uint)    { m[i/64] &^= 1 << (i % 64) }

func (m *bitmap) count() (n int) {
	for _, w := range m {
		n += bits.OnesCount64(w)
	}
	return n
}

// block is what is known of 1,024 neighbouring numbers.
type block struct {
	handled bitmap
	dead    bitmap // and not handled
	repeats uint64 // notes of a number that was handled before
}

// note adds one number; changed: there is something to write.
func (b *block) note(i uint, how How) (changed bool) {
	switch {
	case b.handled.has(i):
		if how == Repeated {
			b.repeats++
		}
		return how == Repeated
	case how == Dead:
		changed = !b.dead.has(i)
		b.dead.set(i)
		return changed
	}
	b.handled.set(i)
	b.dead.clear(i)
	return true
}

// encode: version, flags, repeats, the bitmaps that are needed, CRC32C of all
// before; numbers of a bitmap are big endian.
func (b *block) encode() []byte {
	v := make([]byte, 0, maxBlock)
	full, dead := b.handled.count() == perBlock, b.dead.count() > 0
	v = append(v, blockVersion, flag(full, allHandled)|flag(dead, someDead))
	v = binary.AppendUvarint(v, b.repeats)
	if !full {
		v = appendBitmap(v, &b.handled)
	}
	if dead {
		v = appendBitmap(v, &b.dead)
	}
	return seal(v)
}

func decodeBlock(v []byte) (*block, error) {
	v, err := unseal(v)
	if err != nil || len(v) < 3 || v[0] != blockVersion {
		return nil, errDamaged
	}
	b, flags := &block{}, v[1]
	repeats, n := binary.Uvarint(v[2:])
	if n <= 0 {
		return nil, errDamaged
	}
	b.repeats = repeats
	rest := v[2+n:]
	if flags&allHandled != 0 {
		for i := range b.handled {
			b.handled[i] = ^uint64(0)
		}
	} else if rest, err = readBitmap(rest, &b.handled); err != nil {
		return nil, err
	}
	if flags&someDead != 0 {
		if rest, err = readBitmap(rest, &b.dead); err != nil {
			return nil, err
		}
	}
	if len(rest) > 0 {
		return nil, errDamaged
	}
	return b, nil
}

func flag(is bool, f byte) byte {
	if is {
		return f
	}
	return 0
}

func appendBitmap(v []byte, m *bitmap) []byte {
	for _, w := range m {
		v = binary.BigEndian.AppendUint64(v, w)
	}
	return v
}

func readBitmap(v []byte, m *bitmap) (rest []byte, err error) {
	if len(v) < 8*words {
		return nil, errDamaged
	}
	for i := range m {
		m[i], v = binary.BigEndian.Uint64(v), v[8:]
	}
	return v, nil
}

func seal(v []byte) []byte {
	return binary.BigEndian.AppendUint32(v, crc32.Checksum(v, castagnoli))
}

func unseal(v []byte) ([]byte, error) {
	n := len(v) - 4
	if n < 0 || crc32.Checksum(v[:n], castagnoli) != binary.BigEndian.Uint32(v[n:]) {
		return nil, errDamaged
	}
	return v[:n], nil
}
