package kv

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// nextLog keeps blocks for the log that Badger writes, and for the one that
// follows it, so that neither a write into the mapping of a log nor a rotation
// can meet a full disk, which would be SIGBUS (badger#1682).
//
// Badger takes an empty file of the next number for a new log and sets its size
// (ristretto z/file.go, OpenMmapFileUsing); blocks given to it before that stay.
// A power loss leaves it empty, and the next Open removes it like any other.
//
// Its methods are called by Open, then by the committer only, then by Close.
type nextLog struct {
	dir  *directory
	room int64 // bytes of blocks for each
	log  *slog.Logger

	file  *os.File // the next log, empty until Badger takes it; nil: it could not be prepared
	id    uint64   // its number
	again time.Time
	said  bool // that it could not be prepared
}

// prepareAgain is the wait after an attempt that failed.
const prepareAgain = time.Second

// logRoom is how long a log gets: Badger turns to the next one when it is a
// memtable long (memtable.go, isFull), so by a transaction more at most.
func (o Options) logRoom() int64 {
	return (o.MemTableSize + o.maxBatchBytes() + 1<<20) &^ (pageSize - 1)
}

// newNextLog allocates the log in use, which Badger's Open has made, and
// prepares the next one.
func newNextLog(dir *directory, opts Options) *nextLog {
	n := &nextLog{dir: dir, room: opts.logRoom(), log: opts.Logger}
	if err := n.begin(); err != nil {
		n.failed(err)
	}
	return n
}

func (n *nextLog) begin() error {
	logs, err := n.dir.logs()
	if err != nil || len(logs) == 0 {
		return errors.Join(err, errNoLog)
	}
	live := logs[len(logs)-1]
	n.id = live.id + 1
	f, err := os.OpenFile(filepath.Join(n.dir.path, live.name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(allocate(f, n.room), f.Close()); err != nil {
		return fmt.Errorf("allocate %s: %w", live.name, err)
	}
	return n.prepare()
}

var errNoLog = errors.New("there is no log")

// allocate gives blocks to a file and leaves its size and content alone.
func allocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (n *nextLog) prepare() error {
	path := filepath.Join(n.dir.path, logName(n.id))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := allocate(f, n.room); err != nil {
		return errors.Join(fmt.Errorf("allocate %s: %w", filepath.Base(path), err), f.Close(), os.Remove(path))
	}
	n.file, n.said = f, false
	return nil
}

// committed looks, after a commit, whether Badger has taken the next log, and
// prepares another.
func (n *nextLog) committed() {
	if n.file == nil {
		if now := time.Now(); now.After(n.again) {
			n.again = now.Add(prepareAgain)
			n.catchUp()
		}
		return
	}
	if !n.taken() {
		return
	}
	_ = n.file.Close() // only its blocks were wanted
	n.file = nil
	n.id++
	if err := n.prepare(); err != nil {
		n.failed(err)
	}
}

// catchUp begins anew where a log could not be prepared: meanwhile Badger may
// have made it itself.
func (n *nextLog) catchUp() {
	if err := n.begin(); err != nil {
		n.failed(err)
	}
}

func (n *nextLog) taken() bool {
	st, err := n.file.Stat()
	return err == nil && st.Size() > 0
}

// failed says once that a rotation may meet a full disk. Where the file system
// cannot allocate there is nothing to be done, and nothing to be tried again.
func (n *nextLog) failed(err error) {
	n.again = time.Now().Add(prepareAgain)
	if errors.Is(err, unix.EOPNOTSUPP) {
		n.again = n.again.AddDate(100, 0, 0)
	}
	if !n.said {
		n.log.Warn("the next log cannot be given its blocks in advance; a full disk can end this process when logs change", "dir", n.dir.path, "error", err)
	}
	n.said = true
}

// remove takes an unused next log away, so that a closed database takes no more
// than it needs.
func (n *nextLog) remove() error {
	if n.file == nil {
		return nil
	}
	taken := n.taken()
	err := n.file.Close()
	if name := n.file.Name(); !taken {
		err = errors.Join(err, os.Remove(name))
	}
	n.file = nil
	return err
}
