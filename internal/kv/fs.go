package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var storageErrnos = []unix.Errno{
	unix.EIO, unix.EROFS, unix.ENOSPC, unix.EDQUOT, unix.EUCLEAN, unix.ESTALE, unix.ENXIO, unix.ENODEV,
}

var filesystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.RAMFS_MAGIC:           "ramfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.NFS_SUPER_MAGIC:       "nfs",
	unix.MSDOS_SUPER_MAGIC:     "vfat",
	unix.EXFAT_SUPER_MAGIC:     "exfat",
	unix.FUSE_SUPER_MAGIC:      "fuse",
	unix.V9FS_MAGIC:            "9p",
	unix.CIFS_SUPER_MAGIC:      "cifs",
	unix.SMB2_SUPER_MAGIC:      "smb2",
	unix.CEPH_SUPER_MAGIC:      "ceph",
	0x2fc12fc1:                 "zfs",
}

// Filesystem names the file system that holds dir, or its nearest existing
// parent. durable is true for those on which the promise is tested by power
// loss (ext4, which its predecessors are reported as, and XFS). The others may
// keep it or, like tmpfs and overlay, certainly do not.
func Filesystem(dir string) (name string, durable bool, err error) {
	var st unix.Statfs_t
	for err = unix.Statfs(dir, &st); errors.Is(err, fs.ErrNotExist); err = unix.Statfs(dir, &st) {
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	if err != nil {
		return "", false, fmt.Errorf("identify the file system of %s: %w", dir, err)
	}
	name, ok := filesystems[st.Type]
	if !ok {
		name = fmt.Sprintf("0x%x", uint32(st.Type))
	}
	return name, name == "ext4" || name == "xfs", nil
}
