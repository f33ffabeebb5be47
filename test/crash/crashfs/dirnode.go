package main

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// dirNode is a directory of the model towards the kernel.
type dirNode struct {
	fs.Inode
	disk *disk.Disk
	in   *disk.Inode
}

var _ interface {
	fs.NodeLookuper
	fs.NodeReaddirer
	fs.NodeGetattrer
	fs.NodeSetattrer
	fs.NodeCreater
	fs.NodeMkdirer
	fs.NodeUnlinker
	fs.NodeRmdirer
	fs.NodeRenamer
	fs.NodeFsyncer
	fs.NodeStatfser
} = (*dirNode)(nil)

func newDirNode(d *disk.Disk, in *disk.Inode) *dirNode { return &dirNode{disk: d, in: in} }

// node is the kernel's node for an inode of the model, the same as long as the
// kernel knows it.
func (n *dirNode) node(ctx context.Context, in *disk.Inode, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := stat(n.disk, in, &out.Attr); errno != 0 {
		return nil, errno
	}
	var embedder fs.InodeEmbedder = newDirNode(n.disk, in)
	if !in.IsDir() {
		embedder = &fileNode{disk: n.disk, in: in}
	}
	return n.NewInode(ctx, embedder, stable(in)), 0
}

func (n *dirNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	in, errno := n.disk.Lookup(n.in, name)
	if errno != 0 {
		return nil, errno
	}
	return n.node(ctx, in, out)
}

func (n *dirNode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	entries, errno := n.disk.List(n.in)
	if errno != 0 {
		return nil, errno
	}
	list := make([]fuse.DirEntry, 0, len(entries))
	for _, e := range entries {
		id := stable(e.Inode)
		list = append(list, fuse.DirEntry{Name: e.Name, Mode: id.Mode, Ino: id.Ino})
	}
	return fs.NewListDirStream(list), 0
}

func (n *dirNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return stat(n.disk, n.in, &out.Attr)
}

func (n *dirNode) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if errno := setAttr(n.disk, n.in, in); errno != 0 {
		return errno
	}
	return stat(n.disk, n.in, &out.Attr)
}

func (n *dirNode) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	in, errno := n.disk.Create(n.in, name, mode)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	node, errno := n.node(ctx, in, out)
	return node, openFile{}, fuse.FOPEN_KEEP_CACHE, errno
}

func (n *dirNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	in, errno := n.disk.Mkdir(n.in, name, mode)
	if errno != 0 {
		return nil, errno
	}
	return n.node(ctx, in, out)
}

func (n *dirNode) Unlink(_ context.Context, name string) syscall.Errno {
	return n.disk.Unlink(n.in, name)
}

func (n *dirNode) Rmdir(_ context.Context, name string) syscall.Errno {
	return n.disk.Rmdir(n.in, name)
}

func (n *dirNode) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	return n.disk.Rename(n.in, name, to.(*dirNode).in, newName, flags)
}

func (n *dirNode) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return n.disk.SyncDir(n.in)
}
