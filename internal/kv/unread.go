package kv

import (
	"fmt"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/pb"
)

// unread tells of damage in the old tables of compactions that read fewer
// entries than those hold. What two tables hold alike is read once, so fewer
// entries alone prove nothing: then the tables are read, block by block. One
// that cannot be opened tells nothing. Of those that nothing holds, which were
// made since the database is closing, made has the numbers.
func (d *directory) unread(compactions []changeSet, entries uint64, made map[uint64]uint64) error {
	var names []string
	held := uint64(0)
	for _, s := range compactions {
		for _, c := range s.changes {
			if c.Op != pb.ManifestChange_DELETE {
				continue
			}
			name := tableFile{id: c.Id}.name()
			n, known := made[c.Id]
			var err error
			if !known {
				n, err = countEntries(filepath.Join(d.path, name))
			}
			if isRefusal(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
			}
			names, held = append(names, name), held+n
		}
	}
	if held <= entries {
		return nil
	}
	for _, name := range names {
		if found, err := d.scrubTable(name, nil); err == nil && len(found) > 0 {
			return fmt.Errorf("%w: a compaction read %d entries of %d: %s", ErrDamaged, entries, held, describe(found))
		}
	}
	return nil
}
