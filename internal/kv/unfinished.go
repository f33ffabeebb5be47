package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// DropUnfinished removes the tables that a flush or a compaction was writing when the
// process ended, and returns how many bytes they had. No manifest has named them, and
// Badger removes them when it opens (levels.go, revertToManifest); but that may be too
// late on a full volume, because they may be what fills it: a compaction removes what
// it has read when all is written.
//
// A table that was named once stays, because its compaction may be taken back. So
// does everything beside a manifest that is missing, damaged, or of another format:
// that is for Open to tell.
//
// It is for Options.BeforeOpen: the directory has to be locked.
func DropUnfinished(path string, magic uint16) (bytes int64, err error) {
	d := &directory{path: path}
	named, err := d.namedTables(formatOf(magic))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrDamaged), errors.Is(err, ErrFormat):
		return 0, nil
	case err != nil:
		return 0, err
	}
	files, err := d.tables()
	if err != nil {
		return 0, err
	}
	for _, t := range files {
		if named[t.id] {
			continue
		}
		file := filepath.Join(path, t.name())
		if st, err := os.Stat(file); err == nil {
			bytes += st.Size()
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return bytes, fmt.Errorf("remove an unfinished table: %w", err)
		}
	}
	return bytes, nil
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

// namedTables are all tables that the manifest names or has named, as far back as is
// known.
func (d *directory) namedTables(magic uint16) (map[uint64]bool, error) {
	data, err := os.ReadFile(filepath.Join(d.path, badger.ManifestFilename))
	if err == nil {
		err = checkManifestHeader(data, magic)
	}
	if err != nil {
		return nil, err
	}
	sets, err := d.history(data, false)
	if err != nil {
		return nil, err
	}
	closing, err := d.closingSets()
	if err != nil {
		return nil, err
	}
	named := make(map[uint64]bool)
	for _, s := range slices.Concat(sets, closing) {
		for _, c := range s.changes {
			named[c.Id] = true
		}
	}
	return named, nil
}
