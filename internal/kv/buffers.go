package kv

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// tableBuffers is the memory in which a table is looked at. What is read with it is lost
// when it is used again.
type tableBuffers struct {
	checksum, index, block []byte
	blocks                 []blockPlace
}

// buffers are for what scans read again: of each table that has keys of theirs, an index of
// some 20 KiB and a block of 64 at least. Of a thousand topics whose backlog is drained that
// was two thirds of all that was allocated.
var buffers = sync.Pool{New: func() any { return new(tableBuffers) }}

// mostKept is what one keeps, in bytes: few need more.
const mostKept = 4 * BlockSize

// blockPlaceSize is that of a blockPlace, in bytes.
const blockPlaceSize = 40

func borrowBuffers() *tableBuffers { return buffers.Get().(*tableBuffers) } //nolint:errcheck // nothing else is put there

func (t *tableBuffers) giveBack() {
	if cap(t.checksum)+cap(t.index)+cap(t.block)+blockPlaceSize*cap(t.blocks) <= mostKept {
		buffers.Put(t)
	}
}

// readIndex reads the index of a table and where it begins.
func (t *tableBuffers) readIndex(f *os.File) (ti tableIndex, start int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return ti, 0, err
	}
	return t.indexIn(f, st.Size())
}

// indexIn reads the index of a table of so many bytes.
func (t *tableBuffers) indexIn(table io.ReaderAt, size int64) (ti tableIndex, start int64, err error) {
	end := tail{file: table, end: size}
	t.checksum = end.section("checksum", t.checksum)
	t.index = end.section("index", t.index)
	if end.err != nil {
		return ti, 0, end.err
	}
	if err := verify(t.index, t.checksum); err != nil {
		return ti, 0, fmt.Errorf("index: %w", err)
	}
	ti, err = parseIndex(t.index, t.blocks)
	t.blocks = ti.blocks
	return ti, end.end, err
}
