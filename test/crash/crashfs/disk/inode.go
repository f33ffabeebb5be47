package disk

import (
	"path"
	"syscall"
	"time"
)

// Attr is what stat shows of an inode.
type Attr struct {
	Mode     uint32 // permission bits
	UID, GID uint32
	Mtime    time.Time
	Size     int64 // bytes
	Pages    int64 // allocated
	Links    int
	Dir      bool
}

// Inode is a file or a directory, whatever its name is at the moment.
type Inode struct {
	ID   uint64 // unique for the life of the Disk
	dir  *directory
	file *file
	attr Attr // Size, Pages and Dir are derived

	parent *Inode // where it was last linked; for paths only
	name   string
	links  int // names that the program sees
	opens  int // open handles

	touched uint64 // last change of the journal that names it
	resized uint64 // last of those that a data-only sync waits for
}

// newInode makes an inode of body, a *directory or a *file.
func (d *Disk) newInode(mode uint32, body any) *Inode {
	d.lastID++
	n := &Inode{ID: d.lastID, attr: Attr{Mode: mode & 0o7777, Mtime: time.Now()}}
	switch b := body.(type) {
	case *directory:
		n.dir = b
	case *file:
		n.file = b
	}
	return n
}

// path is the name by which the program knows n, or the entry name in it.
func (n *Inode) path(name string) string {
	p := name
	for ; n.parent != nil; n = n.parent {
		p = path.Join(n.name, p)
	}
	return p
}

// IsDir says whether n is a directory.
func (n *Inode) IsDir() bool { return n.dir != nil }

// Stat returns the attributes of n.
func (d *Disk) Stat(n *Inode) (Attr, syscall.Errno) {
	var a Attr
	errno := d.inspect(func() syscall.Errno {
		a = n.attr
		a.Links, a.Dir = n.links, n.IsDir()
		if !n.IsDir() {
			a.Size, a.Pages = n.file.now.size, int64(len(n.file.now.pages))
		}
		return 0
	})
	return a, errno
}

// Modify lets edit change mode, owner and time of n. They take effect at once
// and are not part of the model.
func (d *Disk) Modify(n *Inode, edit func(*Attr)) syscall.Errno {
	return d.inspect(func() syscall.Errno {
		edit(&n.attr)
		return 0
	})
}

// Open counts a handle: an unlinked file keeps its space until the last Close.
func (d *Disk) Open(n *Inode) syscall.Errno {
	return d.inspect(func() syscall.Errno {
		n.opens++
		return 0
	})
}

// Close gives up a handle.
func (d *Disk) Close(n *Inode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n.opens--
	d.free(n)
}

// unlinked notes that one name of n is gone.
func (d *Disk) unlinked(n *Inode) {
	n.links--
	d.free(n)
}

// free gives back the space of a file without name and handle.
func (d *Disk) free(n *Inode) {
	if n.file == nil || n.links > 0 || n.opens > 0 {
		return
	}
	d.pages -= int64(len(n.file.now.pages))
	n.file.now.pages = nil
}
