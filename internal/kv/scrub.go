package kv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// Scrub reads every block of every table from the disk, checks its checksum,
// and returns what is damaged; it changes nothing. A table with a damaged block
// gets a second name in the quarantine, since a compaction may remove it, and
// the next Open salvages.
//
// pace, if not nil, is called with the size of each table, in bytes, before it
// is read; its error ends the work. Memory outside Go's heap holds one table.
func (db *DB) Scrub(ctx context.Context, pace func(bytes int64) error) (found []Finding, err error) {
	tables, err := db.dir.liveTables(db.opts.Magic)
	if err != nil {
		return nil, fmt.Errorf("scrub: %w", err)
	}
	for _, t := range tables {
		if err := errors.Join(ctx.Err(), db.Err()); err != nil {
			return found, err
		}
		broken, err := db.dir.scrubTable(t.name(), pace)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(broken) > 0 && !db.dir.isLive(t, db.opts.Magic) {
			continue // a compaction was faster: it cuts a file off before it removes it
		}
		if err != nil {
			return found, fmt.Errorf("scrub: %w", err)
		}
		if len(broken) > 0 {
			db.keepDamaged(broken[0].File)
			db.Distrust(fmt.Errorf("%w: %s", ErrDamaged, describe(broken)))
		}
		found = append(found, broken...)
	}
	return found, nil
}

// liveTables lists the tables in use. Badger is not asked: it reads their indexes
// for that, and panics with a level locked when one is damaged (levels.go,
// getTableInfo). It notes a table in the manifest when that is written, and before
// it removes what the table takes the place of.
func (d *directory) liveTables(magic uint16) ([]tableFile, error) {
	data, err := os.ReadFile(filepath.Join(d.path, badger.ManifestFilename))
	if err == nil {
		if tables, err := manifestTables(data, magic); err == nil {
			return tables, nil
		}
	}
	return d.tables() // the manifest is damaged, too
}

func (d *directory) isLive(t tableFile, magic uint16) bool {
	tables, err := d.liveTables(magic)
	return err != nil || slices.ContainsFunc(tables, func(other tableFile) bool { return other.id == t.id })
}

func (d *directory) scrubTable(name string, pace func(int64) error) (found []Finding, err error) {
	path := filepath.Join(d.path, name)
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if pace != nil {
		if err := pace(st.Size()); err != nil {
			return nil, err
		}
	}
	forget(path)
	err = d.readFile(name, func(data []byte, unreadable []Finding) error {
		found = unreadable
		return tableReader{broken: func(from, to int64, why error) {
			found = append(found, Finding{name, from, to, why.Error()})
		}}.read(data)
	})
	forget(path)
	return found, err
}

// forget drops what the page cache has of a file and nobody has mapped, so that
// it is read from the disk, and leaves the cache to others. It is a wish.
func forget(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	_ = f.Close()
}

// keepDamaged copies a table that a compaction may remove into the quarantine. A second
// name would not keep it: Badger cuts off what it removes (ristretto z/file.go,
// MmapFile.Delete).
func (db *DB) keepDamaged(name string) {
	place := filepath.Join(db.opts.QuarantineDir, "tables")
	kept := filepath.Join(place, name)
	if _, err := os.Lstat(kept); err == nil {
		return
	}
	err := makeDir(place)
	if err == nil {
		err = db.dir.readFile(name, func(data []byte, _ []Finding) error {
			return replaceFile(kept, data)
		})
	}
	if err != nil {
		db.log.Error("cannot keep a damaged table", "file", name, "error", err)
	}
}
