package kv

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// A block that Badger cannot read ends the iterator of its table with an error that
// nobody asks for (table/iterator.go, next: itr.err; ConcatIterator.Next and
// MergeIterator only ask for Valid, and Badger's own Iterator has no way to tell it), and
// a flipped bit makes another shorter, or hides a key from a seek: to a scan the rest is
// not there. So the blocks that a scan went over are read once more, from the files, and
// their checksums compared.

// walked is what a scan went over: keys without versions, both included.
type walked struct {
	from []byte
	to   []byte // nil: to the end
}

// walked is what s went over that was ended, if it was, by who read the key last.
func (s Scan) walked(last []byte) walked {
	end := successor(s.Prefix) // more than the prefix by one key
	if s.Reverse {
		if s.From != nil && (end == nil || bytes.Compare(s.From, end) < 0) {
			end = s.From
		}
		if last == nil {
			last = s.Prefix
		}
		return walked{last, end}
	}
	w := walked{s.Prefix, end}
	if bytes.Compare(s.From, s.Prefix) > 0 {
		w.from = s.From
	}
	if last != nil {
		w.to = last
	}
	return w
}

// meets reports whether a scan went over keys from first to last.
func (w walked) meets(first, last []byte) bool {
	return (w.to == nil || bytes.Compare(first, w.to) <= 0) && (last == nil || bytes.Compare(last, w.from) >= 0)
}

// inventory knows which tables are in use, and from where to where they go.
type inventory struct {
	mu       sync.Mutex
	manifest fs.FileInfo // as it was when it was read: it only grows, or is another file
	live     []tableFile
	ranges   map[uint64]keyRange // by table; that never changes
}

type keyRange struct{ first, last []byte } // last nil: it is not known

// tables lists those in use, and the others that are given.
func (i *inventory) tables(db *DB, others []tableFile) ([]tableFile, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now, err := os.Stat(filepath.Join(db.dir.path, badger.ManifestFilename))
	if err != nil || i.manifest == nil || !os.SameFile(now, i.manifest) || now.Size() != i.manifest.Size() {
		live, err := db.dir.liveTables(db.opts.Magic)
		if err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		i.live, i.manifest = live, now
		i.forget()
	}
	all := slices.Clone(i.live)
	for _, t := range others {
		if !slices.ContainsFunc(all, func(known tableFile) bool { return known.id == t.id }) {
			all = append(all, t)
		}
	}
	return all, nil
}

// forget drops what is known of tables that are not in use. i.mu is held.
func (i *inventory) forget() {
	old := i.ranges
	i.ranges = make(map[uint64]keyRange, len(i.live))
	for _, t := range i.live {
		if r, ok := old[t.id]; ok {
			i.ranges[t.id] = r
		}
	}
}

func (i *inventory) rangeOf(t tableFile) (r keyRange, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r, ok = i.ranges[t.id]
	return r, ok
}

// know takes over what an inspection has found, before Badger opens.
func (i *inventory) know(ranges map[uint64]keyRange) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.manifest, i.live, i.ranges = nil, nil, ranges
}

func (i *inventory) note(t tableFile, r keyRange) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ranges[t.id] = r
}

// checkWalked returns ErrDamaged if a block of a table in which a scan went over some
// keys is damaged. The scan still holds its tables.
func (db *DB) checkWalked(tables []tableFile, w walked) error {
	damaged, unsure, err := db.firstHole(tables, w)
	if damaged != nil {
		return damaged.err
	}
	return cmp.Or(err, unsure)
}

func damageIn(t tableFile, err error) error {
	return damageError{fmt.Errorf("%w: what was scanned: %s: %w", ErrDamaged, t.name(), err)}
}

// isEmptied reports whether Badger has removed a table, or is about to: it cuts the
// file off first.
func (d *directory) isEmptied(t tableFile) bool {
	st, err := os.Stat(filepath.Join(d.path, t.name()))
	return errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() == 0
}

// holeIn finds the first damaged block of a table among those in which a scan went over
// some keys; nil: there is none.
func (db *DB) holeIn(t tableFile, w walked) (*hole, error) {
	known, ok := db.inventory.rangeOf(t)
	if ok && !w.meets(known.first, known.last) {
		return nil, nil //nolint:nilnil // see above
	}
	f, err := os.Open(filepath.Join(db.dir.path, t.name()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	mem := borrowBuffers()
	defer mem.giveBack()
	index, end, err := mem.readIndex(f)
	if err != nil {
		return nil, err
	}
	if !ok {
		known = rangeOf(f, index.blocks)
		db.inventory.note(t, known)
	}
	if !w.meets(known.first, known.last) {
		return nil, nil //nolint:nilnil // see above
	}
	for n, b := range index.blocks {
		last := known.last
		if n+1 < len(index.blocks) {
			last = userKey(index.blocks[n+1].key)
		}
		if !w.meets(userKey(b.key), last) {
			continue
		}
		if mem.block, err = readBlock(f, b, end, mem.block); isRefusal(err) {
			return nil, err
		}
		if err != nil {
			return index.hole(f, n, last, err), nil
		}
	}
	return nil, nil //nolint:nilnil // see above
}

// hole is that of block n, which ends with a key, or before it, if that is known.
func (ti tableIndex) hole(f *os.File, n int, last []byte, err error) *hole {
	h := &hole{err: err, first: bytes.Clone(userKey(ti.blocks[n].key))}
	if n > 0 {
		h.before = lastOf(f, ti.blocks[n-1])
	}
	if last != nil {
		h.behind = after(last)
	}
	return h
}

// readBlock checks one block. It returns its memory.
func readBlock(f *os.File, b blockPlace, end int64, buf []byte) ([]byte, error) {
	if b.from > b.to || b.to > end {
		return buf, fmt.Errorf("block stands at bytes %d to %d, and the index begins at %d", b.from, b.to, end)
	}
	buf = slices.Grow(buf[:0], int(b.to-b.from))[:b.to-b.from]
	if _, err := f.ReadAt(buf, b.from); err != nil {
		return buf, err
	}
	if _, err := verifyBlock(buf); err != nil {
		return buf, fmt.Errorf("bytes %d to %d: %w", b.from, b.to, err)
	}
	return buf, nil
}

// rangeOf reads the first and the last key of a table.
func rangeOf(f *os.File, blocks []blockPlace) keyRange {
	return keyRange{bytes.Clone(userKey(blocks[0].key)), lastOf(f, blocks[len(blocks)-1])}
}

// lastOf reads the last key of a block; nil: it cannot be read.
func lastOf(f *os.File, b blockPlace) []byte {
	buf, err := readBlock(f, b, math.MaxInt64, nil)
	if err != nil {
		return nil
	}
	body, err := verifyBlock(buf)
	if err != nil {
		return nil
	}
	return lastKey(body)
}

// userKey is a key in a table without its version.
func userKey(key []byte) []byte { return key[:max(len(key)-versionSize, 0)] }
