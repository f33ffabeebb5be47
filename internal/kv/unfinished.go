package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
)

// DropUnfinished removes the tables that a flush or a compaction was writing when the
// process ended, and returns how many bytes they had. No manifest has named them, and
// Badger removes them when it opens (levels.go, revertToManifest); but that may be too
// late on a full volume, because they may be what fills it: a compaction removes what
// it has read when all is written.
//
// A table that was named once stays, because its compaction may be taken back. So
// does everything beside a manifest that is missing, damaged, or of another format, or
// where something else is missing: the end of a manifest that is cut off may have named
// a table, and a salvage reads that. It is for Open to tell.
//
// It returns the bytes that were removed, and those of the tables that stay because
// something is missing. It is for Options.BeforeOpen: the directory has to be locked.
func DropUnfinished(path string, magic uint16) (removed, kept int64, err error) {
	d := &directory{path: path}
	files, err := d.unnamedTables(magic)
	if err != nil || len(files) == 0 {
		return 0, 0, err
	}
	lacks, err := d.lacks(magic)
	if err != nil {
		return 0, 0, err
	}
	for _, t := range files {
		size, err := d.sizeOf(t.name())
		if err != nil {
			return removed, kept, err
		}
		if lacks {
			kept += size
			continue
		}
		removed += size
		if err := os.Remove(filepath.Join(path, t.name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, 0, fmt.Errorf("remove an unfinished table: %w", err)
		}
	}
	return removed, kept, nil
}

// unnamedTables are those that no manifest names or has named; none where there is no
// manifest that can be read.
func (d *directory) unnamedTables(magic uint16) ([]tableFile, error) {
	m, err := d.manifests(formatOf(magic))
	if m == nil {
		return nil, err
	}
	named := make(map[uint64]bool)
	for _, s := range slices.Concat(m.sets, m.closing) {
		for _, c := range s.changes {
			named[c.Id] = true
		}
	}
	files, err := d.tables()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(files, func(t tableFile) bool { return named[t.id] }), nil
}

// lacks reports whether something is not there that was. After a fence that may be a
// table which Badger has named and removed again.
func (d *directory) lacks(magic uint16) (bool, error) {
	if d.wasFenced() {
		return false, nil
	}
	found, err := d.inspect(false, magic)
	if errors.Is(err, ErrDamaged) {
		return true, nil
	}
	return err == nil && len(found.found) > 0, err
}

// closingSets are those of the manifest as it was when Badger began to close, if there
// is one: it is the one that counts then (closing.go).
func (d *directory) closingSets() ([]changeSet, error) {
	data, err := os.ReadFile(filepath.Join(d.path, closingName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return changeSetsOf(closingName, data)
}

// manifests are the changes of the manifest, as far back as is known, and those of the
// one of a closing, if there is one.
type manifests struct{ sets, closing []changeSet }

// manifests reads them; nil: the manifest is missing, damaged, or of another format.
func (d *directory) manifests(magic uint16) (*manifests, error) {
	var m manifests
	data, err := os.ReadFile(filepath.Join(d.path, badger.ManifestFilename))
	if err == nil {
		err = checkManifestHeader(data, magic)
	}
	if err == nil {
		m.sets, err = d.history(data, false)
	}
	if err == nil {
		m.closing, err = d.closingSets()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrDamaged), errors.Is(err, ErrFormat):
		return nil, nil //nolint:nilnil // nothing is known, and that is no error
	case err != nil:
		return nil, err
	}
	return &m, nil
}

// Removable is how many bytes of tables Open removes before it writes any. Of a
// compaction that was done when the process ended, and not yet judged, the old tables and
// the new ones are there, and one or the other go, whether it is taken back or not: the
// smaller of them counts. It is for Options.BeforeOpen, as DropUnfinished.
func Removable(path string, magic uint16) (bytes int64, err error) {
	d := &directory{path: path}
	m, err := d.manifests(formatOf(magic))
	if m == nil {
		return 0, err
	}
	tables := live(m.sets)
	if m.closing != nil { // all since then is taken back as one
		return d.removableOfClosing(tables, live(m.closing))
	}
	for _, s := range m.sets {
		if _, deleted := s.count(); deleted == 0 {
			continue
		}
		var before, after int64
		for _, c := range s.changes {
			size, err := d.sizeOf(tableFile{id: c.Id}.name())
			if err != nil {
				return 0, err
			}
			switch _, alive := tables[c.Id]; {
			case c.Op == pb.ManifestChange_DELETE && !alive:
				before += size
			case c.Op == pb.ManifestChange_CREATE && alive:
				after += size
			}
		}
		bytes += min(before, after)
	}
	return bytes, nil
}

// removableOfClosing compares what is not in use now with what was not when the closing
// began.
func (d *directory) removableOfClosing(now, then map[uint64]uint32) (int64, error) {
	files, err := d.tables()
	if err != nil {
		return 0, err
	}
	var before, after int64
	for _, t := range files {
		size, err := d.sizeOf(t.name())
		if err != nil {
			return 0, err
		}
		if _, alive := now[t.id]; !alive {
			before += size
		}
		if _, alive := then[t.id]; !alive {
			after += size
		}
	}
	return min(before, after), nil
}
