package kv

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/pb"
)

// errUnread: it is not known whether a compaction has read all that it had to.
var errUnread = errors.New("what a compaction was made from cannot be read now")

// unread tells of damage in the old tables of compactions that read fewer
// entries than those hold. What two tables hold alike is read once, so fewer
// entries alone prove nothing: then the tables are read, block by block. One that
// the system refuses to show is errUnread. Of those that nothing holds, which were
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
				return fmt.Errorf("%w: %w", errUnread, err)
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
	var refused error
	for _, name := range names {
		found, err := d.scrubTable(name, nil)
		if err != nil {
			refused = fmt.Errorf("%w: %w", errUnread, err)
		}
		if len(found) > 0 {
			return fmt.Errorf("%w: a compaction read %d entries of %d: %s", ErrDamaged, entries, held, describe(found))
		}
	}
	return refused
}
