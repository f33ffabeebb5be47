package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// maxWrite is the largest write that reaches the model as one operation, in
// bytes.
const maxWrite = 128 << 10

// mount serves d on dir. The kernel may cache names and attributes for ever:
// nothing changes behind its back. It must not drop mapped pages when it sees
// a new mtime (ExplicitDataCacheControl).
func mount(d *disk.Disk, dir string) error {
	ever := 24 * time.Hour
	_, err := fs.Mount(dir, newDirNode(d, d.Root()), &fs.Options{
		EntryTimeout:    &ever,
		AttrTimeout:     &ever,
		NullPermissions: true,
		MountOptions: fuse.MountOptions{
			FsName:                   "crashfs",
			Name:                     "crashfs",
			DirectMountStrict:        true,
			ExplicitDataCacheControl: true,
			MaxWrite:                 maxWrite,
			DisableXAttrs:            true,
		},
	})
	if err != nil {
		return fmt.Errorf("mount crashfs on %q (needs root and /dev/fuse): %w", dir, err)
	}
	return nil
}

// unmount takes the mount away from the name space at once; whoever still
// uses it gets errors when this process has exited.
func unmount(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: somebody did it before
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

// Statfs shows a disk of 1 TiB if it has no limit.
func (n *dirNode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	used, limit := n.disk.Usage()
	if limit == 0 {
		limit = 1 << 40
	}
	out.Bsize, out.Frsize, out.NameLen = disk.PageSize, disk.PageSize, 255
	out.Blocks = uint64(limit / disk.PageSize)
	out.Bfree = uint64(max(0, limit-used) / disk.PageSize)
	out.Bavail = out.Bfree
	return 0
}
