package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Space is how much a volume has, in bytes. Both leave out what the file system
// keeps for root, also when root asks.
type Space struct {
	Total int64 // 0: the file system does not say, as /proc
	Free  int64
}

// SpaceOf asks the volume of dir, which must exist.
func SpaceOf(dir string) (Space, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return Space{}, fmt.Errorf("space of the volume of %s: %w", dir, err)
		}
	}
	kept := st.Bfree - min(st.Bavail, st.Bfree)
	return Space{
		Total: int64(st.Blocks-min(kept, st.Blocks)) * st.Bsize,
		Free:  int64(st.Bavail) * st.Bsize,
	}, nil
}

// Allocated is how much the files in dir and below take, in bytes of whole blocks;
// a sparse file takes what is written. What does not exist, or vanishes meanwhile,
// counts as nothing. Entries of dir with a name in except are left out.
func Allocated(dir string, except ...string) (bytes int64, err error) {
	skip := map[string]bool{}
	for _, name := range except {
		skip[filepath.Join(dir, name)] = true
	}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if skip[path] {
			return filepath.SkipDir
		}
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		bytes += st.Blocks * 512
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	return bytes, nil
}

// Existing is dir, or its nearest parent that exists.
func Existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}
