package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// freshSuffix names the directory beside the database in which a salvage
	// is prepared, and in which the old one stands between the two renames.
	freshSuffix = ".salvage"
	// unfinishedName marks it as long as it holds nothing of worth.
	unfinishedName = "UNFINISHED"
	// damageName is the report, until it is acknowledged.
	damageName = "DAMAGE"
)

func (db *DB) freshPath() string { return filepath.Clean(db.opts.Dir) + freshSuffix }

// newDirectory makes the directory of a salvage and locks it: once it stands
// in the database's place, nobody else may have it.
func (db *DB) newDirectory(ctx context.Context) (*directory, error) {
	path := db.freshPath()
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(path, unfinishedName), nil); err != nil {
		return nil, err
	}
	if err := errors.Join(SyncDir(path), SyncDir(filepath.Dir(path))); err != nil {
		return nil, err
	}
	lock, err := lockDir(ctx, path, 0)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &directory{path: path, file: file, lock: lock}, nil
}

// replaceBy puts the fresh directory in the place of the old one, which goes
// to the quarantine.
func (db *DB) replaceBy(fresh *directory, report *Damage, found *inspection) error {
	place := filepath.Join(db.opts.QuarantineDir, stamp())
	report.Quarantine = append(report.Quarantine, place)
	if err := fresh.finish(report); err != nil {
		return errors.Join(err, fresh.close(), os.RemoveAll(fresh.path))
	}
	old := db.dir
	if err := unix.Renameat2(unix.AT_FDCWD, fresh.path, unix.AT_FDCWD, old.path, unix.RENAME_EXCHANGE); err != nil {
		return errors.Join(fmt.Errorf("put the fresh directory in place: %w", err), fresh.close(), os.RemoveAll(fresh.path))
	}
	fresh.path, old.path = old.path, fresh.path
	db.dir = fresh
	if err := SyncDir(filepath.Dir(fresh.path)); err != nil {
		return errors.Join(err, old.close())
	}
	// The whole tables are in service; the others are the evidence.
	for _, t := range found.tables {
		if !t.broken {
			_ = os.Remove(filepath.Join(old.path, t.name()))
		}
	}
	return errors.Join(db.quarantine(old.path, place), old.close())
}

// finish makes all of a fresh directory durable, with the report of why there
// is one, and takes its mark off.
func (d *directory) finish(report *Damage) error {
	if len(report.Found) > 0 {
		data, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(d.path, damageName), append(data, '\n')); err != nil {
			return err
		}
	}
	if err := d.markClean(); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(d.path, unfinishedName)); err != nil {
		return err
	}
	return d.file.Sync()
}

// stamp names a directory in the quarantine.
func stamp() string { return time.Now().UTC().Format("20060102T150405.000000Z") }

// quarantine moves a directory to its place there. Where that cannot be, as on
// another file system, it stays beside the database under a name of its own:
// the database must open.
func (db *DB) quarantine(path, place string) error {
	err := move(path, place)
	if err == nil {
		return nil
	}
	beside := filepath.Clean(db.opts.Dir) + ".quarantine-" + filepath.Base(place)
	db.log.Error("cannot use the quarantine: leaving the damaged files beside the database", "quarantine", place, "left", beside, "error", err)
	if err := move(path, beside); err != nil {
		return fmt.Errorf("move to quarantine: %w", err)
	}
	return nil
}

// move renames a directory, durably.
func move(from, to string) error {
	if err := makeDir(filepath.Dir(to)); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(SyncDir(filepath.Dir(to)), SyncDir(filepath.Dir(from)))
}

// tidy ends what a crash during a salvage left beside the database: an
// unfinished directory goes, one that was replaced is put into the quarantine.
func (db *DB) tidy() error {
	path := db.freshPath()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(filepath.Join(path, unfinishedName)); err == nil {
		return os.RemoveAll(path)
	}
	return db.quarantine(path, filepath.Join(db.opts.QuarantineDir, stamp()))
}

// damage reads the report that was not yet acknowledged; an empty one if there
// is none.
func (d *directory) damage() (*Damage, error) {
	report := new(Damage)
	data, err := os.ReadFile(filepath.Join(d.path, damageName))
	if errors.Is(err, fs.ErrNotExist) {
		return report, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, report); err != nil {
		report.Found = append(report.Found, Finding{damageName, 0, 0, err.Error()})
	}
	return report, nil
}

// Damage is what this Open, or an earlier one, found broken and nobody has
// acknowledged yet; nil: nothing.
func (db *DB) Damage() *Damage { return db.damage.Load() }

func (db *DB) reportDamage() error {
	report, err := db.dir.damage()
	if err != nil || len(report.Found) == 0 {
		return err
	}
	db.damage.Store(report)
	db.log.Error("database was damaged, and salvaged: see what is missing, then acknowledge it",
		"dir", db.dir.path, "quarantine", report.Quarantine, "found", describe(report.Found))
	return nil
}

// AcknowledgeDamage forgets the report, durably. The quarantine stays.
func (db *DB) AcknowledgeDamage() error {
	err := os.Remove(filepath.Join(db.dir.path, damageName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("acknowledge damage: %w", err)
	}
	db.damage.Store(nil)
	return db.dir.file.Sync()
}
