package seen

import (
	"encoding/binary"
	"slices"

	"github.com/remora-mq/remora/message"
)

var (
	metaPrefix      = []byte("h/m")
	runningPrefix   = []byte("h/r")
	forgottenPrefix = []byte("h/f")
	blockPrefix     = []byte("h/b")
)

// place is an origin within a stream.
type place struct {
	stream uint32
	origin message.SpoolID
}

// address is a block.
type address struct {
	place

	block uint64
}

// of is the address of a number, from 1, and which one it is of its block.
func (p place) of(number uint64) (address, uint) {
	return address{p, (number - 1) >> blockShift}, uint((number - 1) % perBlock)
}

// first is the lowest number of the block.
func (a address) first() uint64 { return a.block<<blockShift + 1 }

func streamKey(prefix []byte, stream uint32) []byte {
	return binary.BigEndian.AppendUint32(slices.Clone(prefix), stream)
}

func (p place) key(prefix []byte) []byte { return append(streamKey(prefix, p.stream), p.origin[:]...) }

func (a address) key() []byte {
	return binary.BigEndian.AppendUint64(a.place.key(blockPrefix), a.block)
}

const (
	placeKeyLen = 3 + 4 + len(message.SpoolID{})
	blockKeyLen = placeKeyLen + 8
)

// readPlace reads a key with a place; false: it is none.
func readPlace(k []byte) (p place, ok bool) {
	if len(k) < placeKeyLen {
		return p, false
	}
	p.stream = binary.BigEndian.Uint32(k[3:])
	copy(p.origin[:], k[7:])
	return p, true
}

func readAddress(k []byte) (a address, ok bool) {
	if len(k) != blockKeyLen {
		return a, false
	}
	a.place, ok = readPlace(k)
	a.block = binary.BigEndian.Uint64(k[placeKeyLen:])
	return a, ok
}
