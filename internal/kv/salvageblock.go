package kv

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/dgraph-io/badger/v4/y"
)

// salvage tells of a block whose checksum fails the entries that are certain:
// all of them, if the damage can be shown to lie within values (mend.go);
// otherwise those that are certain by themselves. The others are given up.
func (r tableReader) salvage(b []byte, p blockPlace, reach uint64) error {
	if r.unsure != nil {
		return r.guess(b, p)
	}
	if r.entry == nil || r.owner == nil {
		return nil
	}
	for _, e := range r.kept(b, p, reach) {
		if err := r.entry(e.tableEntry); err != nil {
			return err
		}
	}
	return nil
}

// guess tells of all entries that can be located in a broken block.
func (r tableReader) guess(b []byte, p blockPlace) error {
	body, _ := splitBroken(b)
	all, _ := locate(body, p.key)
	for _, e := range all {
		if err := r.unsure(e.tableEntry); err != nil {
			return err
		}
	}
	return nil
}

func (r tableReader) kept(b []byte, p blockPlace, reach uint64) []located {
	body, sum := splitBroken(b)
	all, whole := locate(body, p.key)
	if whole && r.provenBlock(body, sum, all) {
		return all
	}
	if all, ok := r.unflip(body, sum, p.key); ok {
		return all
	}
	return slices.DeleteFunc(all, func(e located) bool { return !r.certain(e, p.key, reach) })
}

func (r tableReader) provenBlock(body []byte, sum uint32, all []located) bool {
	var runs []Run
	for _, e := range all {
		if e.deleted {
			continue
		}
		for _, run := range runsOf(r.owner, e.key, e.value) {
			runs = append(runs, Run{run.From + e.at, run.To + e.at})
		}
	}
	return proven(body, runs, func() bool { return crc32.Checksum(body, castagnoli) == sum })
}

// certain reports whether an entry of a block of which nothing else is known is
// what was written: its value says so, or its key is the one that stands in the
// index, which has a checksum of its own, and its value has one. A deletion
// without that is given up: what it deleted may come back.
func (r tableReader) certain(e located, first []byte, reach uint64) bool {
	if e.version == 0 || e.version > reach {
		return false
	}
	if e.number == 0 && bytes.Equal(e.full, first) {
		return !e.deleted && len(runsOf(r.owner, e.key, e.value)) > 0
	}
	return !e.deleted && r.owner.Proves(e.key, e.value)
}

// located is an entry and its place in a block.
type located struct {
	tableEntry
	number int    // in its block
	full   []byte // the key with its version
	at     int    // where its value begins
}

// locate finds the entries of a block by their offsets, each by itself. Their
// keys share bytes with the first one, which the index knows, too. whole says
// that all could be read, and that their keys ascend.
func locate(body, base []byte) (all []located, whole bool) {
	offsets, data := offsetsOf(body)
	whole = len(offsets) > 0
	var last []byte
	for n, at := range offsets {
		end := len(data)
		if n+1 < len(offsets) {
			end = offsets[n+1]
		}
		e, key, ok := readTableEntry(data, at, end, base)
		if base == nil {
			base = key
		}
		if !ok || last != nil && y.CompareKeys(last, key) >= 0 {
			whole = false
		}
		if ok {
			last = key
			all = append(all, located{e, n, key, end - len(e.value)})
		}
	}
	return all, whole
}

// offsetsOf reads the entries' offsets: as many as their number says, or from
// behind up to the first one, which is zero.
func offsetsOf(body []byte) (offsets []int, data []byte) {
	if offsets, data, ok := splitBlock(body); ok && ascend(offsets[1:]) {
		offsets[0] = 0
		return offsets, data
	}
	const word = 4
	for at := len(body) - 2*word; at >= 0; at -= word {
		offset := int(binary.LittleEndian.Uint32(body[at:]))
		offsets = append(offsets, offset)
		if offset > 0 {
			continue
		}
		slices.Reverse(offsets)
		if ascend(offsets[1:]) {
			return offsets, body[:at]
		}
		break
	}
	return nil, nil
}

func ascend(offsets []int) bool {
	for n, offset := range offsets {
		if offset <= 0 || n > 0 && offset <= offsets[n-1] {
			return false
		}
	}
	return true
}

// splitBroken takes a block's checksum off, with a bit of it put right if that
// makes it hold; by the number of entries that stands before it if its length is
// broken.
func splitBroken(b []byte) (body []byte, sum uint32) {
	if sum, size := checksumAt(b); size > 0 {
		return b[:len(b)-size], sum
	}
	for i := range 8 * min(maxChecksum, len(b)) {
		at, bit := len(b)-1-i/8, byte(1)<<(i%8)
		b[at] ^= bit
		sum, size := checksumAt(b)
		b[at] ^= bit
		if body := b[:len(b)-size]; size > 0 && crc32.Checksum(body, castagnoli) == sum {
			return body, sum
		}
	}
	for size := 4 + 2; size <= min(maxChecksum, len(b)); size++ {
		body := b[:len(b)-size]
		if offsets, _, ok := splitBlock(body); ok && offsets[0] == 0 && ascend(offsets[1:]) {
			return body, 0
		}
	}
	return b[:max(0, len(b)-maxChecksum)], 0
}
