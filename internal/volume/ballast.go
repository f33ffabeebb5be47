package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Ballast is a file of allocated blocks and no content. Whoever finds the volume
// full gives it up, to have the room that opening a spool takes.
type Ballast struct {
	Path string
	Size int64 // bytes; 0: there shall be none
}

// Held is how many bytes the file has now.
func (b Ballast) Held() (int64, error) {
	var st unix.Stat_t
	err := unix.Lstat(b.Path, &st)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at the ballast %s: %w", b.Path, err)
	}
	return st.Blocks * 512, nil
}

// GiveUp removes the file.
func (b Ballast) GiveUp() error {
	err := os.Remove(b.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give up the ballast: %w", err)
	}
	return nil
}

// Restore makes the file have Size bytes of blocks. An error of a full volume is
// unix.ENOSPC; then nothing of it is left, because half a ballast helps nobody.
// On a file system that cannot allocate there is no ballast, and no error.
func (b Ballast) Restore() error {
	held, err := b.Held()
	const extents = 1 << 20 // what the file system may count for its own map of the file
	if err != nil || held >= b.Size && held <= b.Size+extents && b.Size > 0 {
		return err
	}
	if held > b.Size || b.Size == 0 {
		if err := b.GiveUp(); err != nil || b.Size == 0 {
			return err
		}
		held = 0
	}
	if err = b.fits(held); err == nil {
		err = b.allocate()
	}
	if err == nil {
		return nil
	}
	if gone := b.GiveUp(); gone != nil || errors.Is(err, unix.EOPNOTSUPP) {
		return gone
	}
	return fmt.Errorf("restore the ballast of %d bytes: %w", b.Size, err)
}

// fits is asked before blocks are: an allocation that ends on a full volume has had, for
// as long as it went on, all that others there were about to write to.
func (b Ballast) fits(held int64) error {
	space, err := SpaceOf(filepath.Dir(b.Path))
	if err == nil && space.Total > 0 && space.Free < b.Size-held {
		return unix.ENOSPC
	}
	return err
}

func (b Ballast) allocate() error {
	f, err := os.OpenFile(b.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Fallocate(int(f.Fd()), 0, 0, b.Size)
	}
	return errors.Join(err, f.Close())
}
