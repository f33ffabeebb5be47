package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// liveLog is the log that Badger writes to, opened a second time so that the
// committer can sync it alone and see whether that succeeded.
//
// Badger's own SyncWrites does the same with msync, and syncs the value log
// before it, in which nothing is: half of the time of a small commit. On Linux
// a page that was written through a mapping is dirty in the file's cache, so
// fdatasync of any descriptor writes it, and an error is told to each
// descriptor that was open when it happened.
//
// Every commit is in exactly one log: Badger begins a new one, if it has to,
// before it writes the transaction (db.go, writeRequests) and puts all of the
// transaction there. The commits before it are in logs that were synced by
// those commits. So the newest log is all that a commit has to sync.
//
// Only the committer uses it.
type liveLog struct {
	dir  *directory
	id   uint64
	file *os.File
	next string // name of the log that Badger begins next

	zeros zeroFill
}

func logName(id uint64) string { return fmt.Sprintf("%05d.mem", id) } // memtable.go, mtFilePath

// openLiveLog finds the newest log. A log without content is one to come.
func openLiveLog(d *directory) (*liveLog, error) {
	logs, err := d.logs()
	if err != nil {
		return nil, err
	}
	for _, log := range slices.Backward(logs) {
		if size, err := d.sizeOf(log.name); err != nil {
			return nil, err
		} else if size == 0 {
			continue
		}
		l := &liveLog{dir: d}
		return l, l.move(log.id)
	}
	return nil, fmt.Errorf("%s has no log", d.path)
}

func (l *liveLog) move(id uint64) error {
	file, err := os.OpenFile(filepath.Join(l.dir.path, logName(id)), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the log to sync it: %w", err)
	}
	if l.file != nil {
		_ = l.file.Close() // all in it was synced
	}
	l.id, l.file, l.next = id, file, logName(id+1)
	l.zeros.begin()
	_ = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_RANDOM) // as the mapping, for what zeros looks at
	if path, err := filepath.Abs(file.Name()); err == nil {
		_ = adviseRandom(path) // only speed depends on it
	}
	return nil
}

// sync makes what was committed durable.
func (l *liveLog) sync() error {
	if err := l.follow(); err != nil {
		return err
	}
	for {
		err := unix.Fdatasync(int(l.file.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fdatasync "+l.file.Name(), err)
		}
	}
}

// follow moves on to the log that Badger has begun since the last commit.
func (l *liveLog) follow() error {
	for {
		size, err := l.dir.sizeOf(l.next)
		if err != nil || size == 0 {
			return err
		}
		if err := l.move(l.id + 1); err != nil {
			return err
		}
	}
}

func (l *liveLog) close() error { return l.file.Close() }

// sizeOf is 0 also for a file that does not exist.
func (d *directory) sizeOf(name string) (int64, error) {
	var st unix.Stat_t
	err := unix.Stat(filepath.Join(d.path, name), &st)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	return st.Size, os.NewSyscallError("stat "+name, err)
}

// syncLogs syncs what Badger's Open made: nothing else syncs the value log,
// which is empty and has a header. A log that Badger removes meanwhile is in a
// table, which it has synced.
func (d *directory) syncLogs() error {
	names, err := d.names(".mem", ".vlog")
	for _, name := range names {
		if failed := syncFile(filepath.Join(d.path, name)); !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
