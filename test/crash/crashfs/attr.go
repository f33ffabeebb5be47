package main

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// stable is the identity of an inode for the kernel.
func stable(n *disk.Inode) fs.StableAttr {
	kind := uint32(syscall.S_IFREG)
	if n.IsDir() {
		kind = syscall.S_IFDIR
	}
	return fs.StableAttr{Mode: kind, Ino: n.ID}
}

// stat fills out with the attributes of n.
func stat(d *disk.Disk, n *disk.Inode, out *fuse.Attr) syscall.Errno {
	a, errno := d.Stat(n)
	if errno != 0 {
		return errno
	}
	out.Ino = n.ID
	out.Mode = a.Mode | stable(n).Mode
	out.Size = uint64(a.Size)
	out.Blksize = disk.PageSize
	out.Blocks = uint64(a.Pages) * (disk.PageSize / 512)
	out.Nlink = uint32(a.Links)
	out.Uid, out.Gid = a.UID, a.GID
	out.SetTimes(&a.Mtime, &a.Mtime, &a.Mtime)
	return 0
}

// setAttr changes mode, owner and time; the size is the file's own business.
func setAttr(d *disk.Disk, n *disk.Inode, in *fuse.SetAttrIn) syscall.Errno {
	return d.Modify(n, func(a *disk.Attr) {
		if mode, ok := in.GetMode(); ok {
			a.Mode = mode & 0o7777
		}
		if uid, ok := in.GetUID(); ok {
			a.UID = uid
		}
		if gid, ok := in.GetGID(); ok {
			a.GID = gid
		}
		if mtime, ok := in.GetMTime(); ok {
			a.Mtime = mtime
		}
	})
}
