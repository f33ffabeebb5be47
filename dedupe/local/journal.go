package local

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
)

// journal is a file of slots, each with a mark that was begun just now. It is written
// and not synced: what a process has written outlives it. It belongs to database.mu.
//
//	version 1 byte
//	hash    16: of the key
//	length  1: in bytes, of what follows
//	mark    as a bucket has it
//	crc     CRC32C of all before, big endian
type journal struct {
	file  *os.File
	slots []slot
	free  []int // of slots; the last one is taken first
}

// slot is a place in the file. A free one has what was there before.
type slot struct {
	key  hash
	used bool
	seen bool // by [Store.old]
}

const (
	journalVersion = 1
	slotSize       = 128 // room for any mark without contents that are done
	mostSlots      = 4096
	slotHead       = 1 + len(hash{}) + 1
)

// noted is a mark that was read of a slot.
type noted struct {
	key  hash
	mark []byte
}

// openJournal opens or makes the file, and reads what a process that ended has left.
func openJournal(path string) (j *journal, left []noted, err error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	for ; len(b) >= slotSize; b = b[slotSize:] {
		if one, whole := readSlot(b[:slotSize]); whole {
			left = append(left, one)
		}
	}
	return &journal{file: file}, left, nil
}

// readSlot tells a slot that was never written, or whose last write a power loss has
// cut, by its checksum.
func readSlot(b []byte) (one noted, whole bool) {
	end := slotHead + int(b[slotHead-1])
	if b[0] != journalVersion || end+4 > len(b) || crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return one, false
	}
	return noted{hash(b[1:]), b[slotHead:end]}, true
}

// empty takes all slots off the disk. It is synced: a later process must not find them.
func (j *journal) empty() error { return errors.Join(j.file.Truncate(0), j.file.Sync()) }

// write notes a mark, and returns the number of its slot, from 1; 0: it is not noted.
func (j *journal) write(h hash, mark []byte) (number int) {
	if len(j.free) == 0 && len(j.slots) == mostSlots || slotHead+len(mark)+4 > slotSize {
		return 0
	}
	at := len(j.slots)
	if n := len(j.free); n > 0 {
		at = j.free[n-1]
	}
	var b [slotSize]byte
	b[0] = journalVersion
	copy(b[1:], h[:])
	b[slotHead-1] = byte(len(mark))
	end := slotHead + copy(b[slotHead:], mark)
	binary.BigEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
	if _, err := j.file.WriteAt(b[:], int64(at)*slotSize); err != nil {
		return 0 // it begins by a commit, which says what is wrong
	}
	if at == len(j.slots) {
		j.slots = append(j.slots, slot{})
	} else {
		j.free = j.free[:len(j.free)-1]
	}
	j.slots[at] = slot{key: h, used: true}
	return at + 1
}

// leave frees a slot whose mark is on stable storage, or a later one of its key. What is
// in it does no harm: see [Store.applyRestores].
func (j *journal) leave(number int) {
	j.slots[number-1] = slot{}
	j.free = append(j.free, number-1)
}

func (j *journal) inUse() int { return len(j.slots) - len(j.free) }

// close leaves nothing to be read where nothing is in use. It has no error: what is left
// there does no harm, and what was written is not to be on stable storage.
func (j *journal) close() {
	if j.inUse() == 0 {
		_ = j.file.Truncate(0)
	}
	_ = j.file.Close()
}
