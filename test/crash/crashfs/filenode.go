package main

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// fsyncDataOnly is FUSE_FSYNC_FDATASYNC of linux/fuse.h; msync sets it, too.
const fsyncDataOnly = 1

// fileNode is a file of the model towards the kernel.
type fileNode struct {
	fs.Inode
	disk *disk.Disk
	in   *disk.Inode
}

// openFile is a handle. It carries nothing, but without one go-fuse does not
// tell when it is released.
type openFile struct{}

var _ interface {
	fs.NodeGetattrer
	fs.NodeSetattrer
	fs.NodeOpener
	fs.NodeReader
	fs.NodeWriter
	fs.NodeAllocater
	fs.NodeFsyncer
	fs.NodeFlusher
	fs.NodeReleaser
} = (*fileNode)(nil)

func (n *fileNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return stat(n.disk, n.in, &out.Attr)
}

// Setattr is also how O_TRUNC arrives.
func (n *fileNode) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if errno := n.disk.Resize(n.in, int64(size)); errno != 0 {
			return errno
		}
	}
	if errno := setAttr(n.disk, n.in, in); errno != 0 {
		return errno
	}
	return stat(n.disk, n.in, &out.Attr)
}

// Open keeps the kernel's cache: its pages are never behind the model's.
func (n *fileNode) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return openFile{}, fuse.FOPEN_KEEP_CACHE, n.disk.Open(n.in)
}

func (n *fileNode) Release(context.Context, fs.FileHandle) syscall.Errno {
	n.disk.Close(n.in)
	return 0
}

func (n *fileNode) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	got, errno := n.disk.Read(n.in, dest, off)
	return fuse.ReadResultData(dest[:got]), errno
}

func (n *fileNode) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := n.disk.Write(n.in, data, off); errno != 0 {
		return 0, errno
	}
	return uint32(len(data)), 0
}

func (n *fileNode) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if mode&^unix.FALLOC_FL_KEEP_SIZE != 0 {
		return syscall.EOPNOTSUPP
	}
	return n.disk.Allocate(n.in, int64(off), int64(size), mode != 0)
}

func (n *fileNode) Fsync(_ context.Context, _ fs.FileHandle, flags uint32) syscall.Errno {
	return n.disk.Sync(n.in, flags&fsyncDataOnly != 0)
}

// Flush is close(2). It syncs nothing, but fails when the power is gone.
func (n *fileNode) Flush(context.Context, fs.FileHandle) syscall.Errno {
	_, errno := n.disk.Stat(n.in)
	return errno
}
