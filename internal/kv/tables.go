package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// checkTable reads of a table what Badger's Open reads of it: the footer, the
// index and the last block. Badger does so on goroutines of its own, where a
// damaged length ends the process by a panic or log.Fatal (table/table.go
// initBiggestAndSmallest, readNoFail), at each start again. And the first block,
// if the last commit's seal may be there. It returns how far the table reaches.
//
// It walks from the end: blocks, index, length of the index, checksum of the
// index, length of the checksum (table/builder.go Copy).
func checkTable(path string) (reach, error) {
	t, err := checkEnds(path)
	return t.reach, err
}

// tableEnds is what checkTable learns of a table.
type tableEnds struct {
	reach reach
	keys  keyRange // if there was no error
}

func checkEnds(path string) (t tableEnds, err error) {
	f, err := os.Open(path)
	if err != nil {
		return t, err
	}
	defer func() { _ = f.Close() }() // only read
	ti, start, err := readIndex(f)
	if err != nil {
		return t, err
	}
	t.reach.version = ti.reach
	last, err := checkLastBlock(f, start, ti.blocks)
	if err != nil {
		return t, err
	}
	t.keys = keyRange{bytes.Clone(userKey(ti.blocks[0].key)), lastKey(last)}
	return t, t.reach.readSeal(f, start, ti.blocks[0])
}

// readIndex reads the index of a table and where it begins.
func readIndex(f *os.File) (ti tableIndex, start int64, err error) {
	return new(tableBuffers).readIndex(f)
}

// tableIndex is what this package needs of a table's index.
type tableIndex struct {
	reach  uint64       // the largest version
	blocks []blockPlace // their keys are parts of what was read
}

type blockPlace struct {
	from, to int64
	key      []byte // the first one, with its version
}

// parseIndex reads an index. Its checksum proves little: that of nothing is
// zero, so a table that ends in zeros has a valid, empty index, on which the
// generated code panics. The memory of blocks is used again.
func parseIndex(index []byte, blocks []blockPlace) (ti tableIndex, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("index: %v", p)
		}
	}()
	raw := fb.GetRootAsTableIndex(index, 0)
	ti.reach = raw.MaxVersion()
	ti.blocks = slices.Grow(blocks[:0], min(raw.OffsetsLength(), len(index)))
	var at fb.BlockOffset
	for n := range raw.OffsetsLength() {
		if raw.Offsets(&at, n) {
			ti.blocks = append(ti.blocks, blockPlace{int64(at.Offset()), int64(at.Offset()) + int64(at.Len()), at.KeyBytes()})
		}
	}
	if len(ti.blocks) == 0 {
		return ti, errors.New("index names no blocks")
	}
	return ti, nil
}

// tail reads a file's sections from the end, each followed by its length.
type tail struct {
	file io.ReaderAt
	end  int64
	err  error
}

// section returns the last one, in the memory of buf where that is large enough.
func (t *tail) section(what string, buf []byte) []byte {
	size := t.take(what, 4, nil)
	if t.err != nil {
		return nil
	}
	return t.take(what, int64(binary.BigEndian.Uint32(size)), buf)
}

func (t *tail) take(what string, n int64, buf []byte) []byte {
	if t.err != nil {
		return nil
	}
	if n > t.end {
		t.err = fmt.Errorf("%s of %d bytes in a file that has %d left", what, n, t.end)
		return nil
	}
	buf = slices.Grow(buf[:0], int(n))[:n]
	t.end -= n
	_, t.err = t.file.ReadAt(buf, t.end)
	return buf
}

// checkLastBlock verifies the block from which Badger takes the largest key:
// entries, their offsets, their number, checksum, its length.
// It returns the entries with their offsets and number.
func checkLastBlock(f *os.File, indexStart int64, blocks []blockPlace) (body []byte, err error) {
	last := blocks[len(blocks)-1]
	if last.to > indexStart {
		return nil, fmt.Errorf("last block ends at %d, after the index begins at %d", last.to, indexStart)
	}
	t := tail{file: f, end: last.to}
	sum := t.section("block checksum", nil)
	if t.err != nil {
		return nil, t.err
	}
	if t.end < last.from {
		return nil, errors.New("block checksum is longer than the block")
	}
	body = t.take("block", t.end-last.from, nil)
	if err := verify(body, sum); err != nil {
		return nil, fmt.Errorf("last block: %w", err)
	}
	return body, t.err
}

func verify(data, sum []byte) error {
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return fmt.Errorf("checksum: %w", err)
	}
	if want.Algo != pb.Checksum_CRC32C && want.Algo != pb.Checksum_XXHash64 {
		return fmt.Errorf("checksum of unknown kind %d", want.Algo)
	}
	return y.VerifyChecksum(data, &want)
}
