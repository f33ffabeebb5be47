package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// headName is the file that says how far the database had come: a log cut at
// the end of a transaction, or a manifest at the end of an entry, looks like an
// earlier valid state, and takes along whatever is noted inside.
const headName = "HEAD"

// head is one state of that file.
type head struct {
	generation uint64 // of the writes of this file
	epoch      uint64 // of the opens of this directory
	highWater  uint64 // timestamp of the last commit known to be durable
	log        uint64 // number of the newest log at that time; 0: none
	offset     int64  // where that commit, or the newest in that log, ends
	magic      uint16
	secret     [32]byte
	note       string // of the owner; see DB.Note
}

// MaxNote is the largest note in bytes.
const MaxNote = 256

const (
	headMagic = "RMRHEAD2"
	headSize  = 8 + 5*8 + 2 + 32 + 2 + MaxNote + crcSize
	// headSlot keeps the two slots on pages of their own: a torn write of one
	// leaves the other.
	headSlot = 4096
)

func (h head) encode() []byte {
	b := append(make([]byte, 0, headSize), headMagic...)
	for _, v := range []uint64{h.generation, h.epoch, h.highWater, h.log, uint64(h.offset)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint16(b, h.magic)
	b = append(b, h.secret[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.note)))
	b = append(append(b, h.note...), make([]byte, MaxNote-len(h.note))...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHead(b []byte) (h head, ok bool) {
	if len(b) < headSize || string(b[:8]) != headMagic {
		return h, false
	}
	b = b[:headSize]
	if crc32.Checksum(b[:headSize-crcSize], castagnoli) != binary.BigEndian.Uint32(b[headSize-crcSize:]) {
		return h, false
	}
	u := func(i int) uint64 { return binary.BigEndian.Uint64(b[8+8*i:]) }
	h = head{generation: u(0), epoch: u(1), highWater: u(2), log: u(3), offset: int64(u(4))}
	h.magic = binary.BigEndian.Uint16(b[48:])
	copy(h.secret[:], b[50:])
	n := int(binary.BigEndian.Uint16(b[82:]))
	h.note = string(b[84:][:min(n, MaxNote)])
	return h, true
}

// readHead returns the newer of the two slots; ok is false when neither can be
// read, and then exists says whether there is a file at all. One that is
// broken was being written, or the other has the state of a second before.
func (d *directory) readHead() (h head, exists, ok bool, err error) {
	data, err := os.ReadFile(filepath.Join(d.path, headName))
	if errors.Is(err, fs.ErrNotExist) {
		return head{}, false, false, nil
	}
	if err != nil {
		return head{}, true, false, err
	}
	for at := 0; at < len(data); at += headSlot {
		if slot, valid := decodeHead(data[at:]); valid && (!ok || slot.generation > h.generation) {
			h, ok = slot, true
		}
	}
	return h, true, ok, nil
}

// headFile writes the slots in turns. It has one owner at a time: Open, then
// the head's keeper, then Close.
type headFile struct {
	file *os.File
	head head
}

// createHead puts a file with h in one slot, durably, in place of any other.
func (d *directory) createHead(h head) (*headFile, error) {
	h.generation++
	data := make([]byte, 2*headSlot)
	copy(data[h.slot():], h.encode())
	if err := d.replace(headName, data); err != nil {
		return nil, fmt.Errorf("create %s: %w", headName, err)
	}
	return d.openHead(h)
}

func (d *directory) openHead(h head) (*headFile, error) {
	f, err := os.OpenFile(filepath.Join(d.path, headName), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &headFile{file: f, head: h}, nil
}

func (h head) slot() int64 { return int64(h.generation%2) * headSlot }

// write puts next in the slot that is not the newest, and syncs it.
func (f *headFile) write(next head) error {
	next.generation = f.head.generation + 1
	if _, err := f.file.WriteAt(next.encode(), next.slot()); err != nil {
		return fmt.Errorf("write %s: %w", headName, err)
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", headName, err)
	}
	f.head = next
	return nil
}
