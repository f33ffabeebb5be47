package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

const (
	// cleanName exists exactly while the directory is closed after a stop in
	// which everything was synced.
	cleanName = "CLEAN"
	// fencedName says that the last owner stopped because a write or a sync
	// failed, so that Badger's manifest may name tables that Badger removed.
	fencedName = "FENCED"
)

// directory is the open, locked directory of a database.
type directory struct {
	path   string
	file   *os.File // for fstat and fsync
	lock   *os.File
	head   *headFile
	synced unix.Timespec // mtime that the last fsync certainly covered; zero: none
}

// mtimeGrain is more than the tick of a file system's clock (10 ms at 100 Hz):
// a change within it may leave the mtime as it was.
const mtimeGrain = 25 * time.Millisecond

// makeDir creates path and its missing parents, each durable in its parent.
func makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err == nil {
		return SyncDir(filepath.Dir(path))
	} else if errors.Is(err, fs.ErrExist) {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	return makeDir(path)
}

// SyncDir makes the names in a directory durable.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// syncIfChanged fsyncs the directory if an entry may have been added since the
// last time. Badger does not after creating a WAL or a table (ristretto
// z/file.go OpenMmapFileUsing tests a size that it has just set): ext4 and XFS
// commit the entry with the file, POSIX does not ask it of them.
func (d *directory) syncIfChanged() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(d.file.Fd()), &st); err != nil {
		return fmt.Errorf("stat directory: %w", err)
	}
	if st.Mtim == d.synced {
		return nil
	}
	now := time.Now()
	if err := d.file.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if now.Sub(time.Unix(st.Mtim.Unix())) > mtimeGrain {
		d.synced = st.Mtim
	}
	return nil
}

// takeClean removes the marker of a clean stop and reports whether there was
// one. The directory has to be synced before anything else is changed.
func (d *directory) takeClean() (clean bool, err error) {
	err = os.Remove(filepath.Join(d.path, cleanName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, nil
}

// markClean is the last act of a clean stop.
func (d *directory) markClean() error {
	if err := writeFile(filepath.Join(d.path, cleanName), []byte("closed cleanly\n")); err != nil {
		return err
	}
	return d.file.Sync()
}

// noteFence leaves word for the next start. It may fail with the disk: then a
// manifest that names missing tables stops the next start, loudly.
func (d *directory) noteFence(cause error) {
	_ = writeFile(filepath.Join(d.path, fencedName), []byte(cause.Error()+"\n"))
	_ = d.file.Sync()
}

func (d *directory) hasManifest() bool {
	_, err := os.Stat(filepath.Join(d.path, badger.ManifestFilename))
	return err == nil
}

func (d *directory) wasFenced() bool {
	_, err := os.Stat(filepath.Join(d.path, fencedName))
	return err == nil
}

func (d *directory) forgetFence() error {
	err := os.Remove(filepath.Join(d.path, fencedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, d.file.Sync())
}

// replace puts data under name so that after a crash either the old or the new
// file is there, synced.
func (d *directory) replace(name string, data []byte) error {
	if err := replaceFile(filepath.Join(d.path, name), data); err != nil {
		return err
	}
	return d.file.Sync()
}

// replaceFile puts data at path, whole and synced, or leaves what was there: the entry is
// not synced yet. After an error nothing else stays: part of it would take the room that
// is missing.
func replaceFile(path string, data []byte) error {
	fresh := path + ".new"
	err := writeFile(fresh, data)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = os.Remove(fresh)
	}
	return err
}

// names lists the files that end with one of the suffixes.
func (d *directory) names(suffixes ...string) ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		for _, s := range suffixes {
			if strings.HasSuffix(e.Name(), s) {
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}

// restrict takes away what group and others may do. Failing is not fatal: on a
// volume owned by another user only the owner may.
func (d *directory) restrict() error {
	err := os.Chmod(d.path, 0o700) //nolint:gosec // a directory is entered by its x bit
	names, listErr := d.names("")
	err = errors.Join(err, listErr)
	for _, name := range names {
		err = errors.Join(err, os.Chmod(filepath.Join(d.path, name), 0o600))
	}
	return err
}

// close releases the lock. A fenced database does not come here: it keeps the
// directory until the process ends, because Badger's goroutines still run.
func (d *directory) close() error {
	var err error
	if d.head != nil {
		err = d.head.file.Close()
	}
	return errors.Join(err, d.file.Close(), d.lock.Close())
}

func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
