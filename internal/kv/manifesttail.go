package kv

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
)

// manifestTail reads what is added to the manifest of an open database. It has
// one user at a time.
type manifestTail struct {
	dir  *directory
	file *os.File
	at   int64 // behind the last change set that was read
	live map[uint64]uint32
	kept bool // this manifest has its second name
}

// openManifestTail begins behind what is there.
func openManifestTail(d *directory) (*manifestTail, error) {
	t := &manifestTail{dir: d, live: map[uint64]uint32{}}
	if err := t.open(); err != nil {
		return nil, err
	}
	_, err := t.rest()
	return t, err
}

func (t *manifestTail) open() (err error) {
	t.at = manifestHeader
	t.file, err = os.Open(filepath.Join(t.dir.path, badger.ManifestFilename))
	return err
}

// read returns the change sets since the last call. Badger replaces the manifest
// when it has grown old (manifest.go, addChanges): the change that made it do so
// is then in the new file only, as the difference between the two.
func (t *manifestTail) read() ([]changeSet, error) {
	replaced, err := t.replaced()
	if err != nil {
		return nil, err
	}
	sets, err := t.rest()
	if err != nil || !replaced {
		return sets, err
	}
	before := t.live
	t.kept = false
	if err := t.close(); err != nil {
		return nil, err
	}
	t.live = map[uint64]uint32{}
	if err := t.open(); err != nil {
		return nil, err
	}
	more, err := t.rest()
	if err != nil {
		return nil, err
	}
	if len(more) == 0 {
		return nil, fmt.Errorf("%w: the new %s is empty", ErrDamaged, badger.ManifestFilename)
	}
	return slices.Concat(sets, []changeSet{difference(before, live(more[:1]))}, more[1:]), nil
}

// difference is the change set that leads from some tables to others.
func difference(before, after map[uint64]uint32) (s changeSet) {
	for id, level := range after {
		if _, ok := before[id]; !ok {
			s.changes = append(s.changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_CREATE, Level: level})
		}
	}
	for id := range before {
		if _, ok := after[id]; !ok {
			s.changes = append(s.changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_DELETE})
		}
	}
	return s
}

func (t *manifestTail) replaced() (bool, error) {
	now, err := os.Stat(t.file.Name())
	if err != nil {
		return false, err
	}
	ours, err := t.file.Stat()
	return err == nil && !os.SameFile(now, ours), err
}

// rest reads to the end, or to where Badger is still writing. Zeros pass for an
// entry of nothing, and so may the place of one that is being written: Badger
// writes none but as the first of a manifest (manifest.go, helpRewrite), which is
// there when the file gets its name.
func (t *manifestTail) rest() ([]changeSet, error) {
	data, err := io.ReadAll(io.NewSectionReader(t.file, t.at, 1<<62))
	if err != nil {
		return nil, err
	}
	var sets []changeSet
	for len(data) >= manifestPrefix && entrySize(data) <= uint64(len(data)) {
		size := entrySize(data)
		if size == manifestPrefix && t.at > manifestHeader {
			break
		}
		set, whole := entry(data[:size])
		if !whole {
			break
		}
		sets = append(sets, set)
		data = data[size:]
		t.at += int64(size)
	}
	apply(t.live, sets)
	return sets, nil
}

func (t *manifestTail) close() error { return t.file.Close() }
