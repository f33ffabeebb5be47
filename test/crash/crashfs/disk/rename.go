package disk

import "syscall"

// Flags of Rename, as of renameat2(2).
const (
	RenameNoReplace = 1
	RenameExchange  = 2
)

// Rename moves an entry, replaces what has the new name, or swaps the two.
func (d *Disk) Rename(from *Inode, name string, to *Inode, newName string, flags uint32) syscall.Errno {
	var target string
	d.mu.Lock()
	target = to.path(newName)
	d.mu.Unlock()
	return d.mutate("rename", from, name, target, func() syscall.Errno {
		moved, other := from.dir.now[name], to.dir.now[newName]
		if moved == nil || (flags&RenameExchange != 0 && other == nil) {
			return syscall.ENOENT
		}
		switch {
		case flags&RenameExchange != 0:
			d.swap(from, name, to, newName)
			return 0
		case flags&RenameNoReplace != 0 && other != nil:
			return syscall.EEXIST
		}
		if errno := replaceable(moved, other); errno != 0 || moved == other {
			return errno
		}
		d.move(from, name, to, newName)
		return 0
	})
}

// replaceable says whether moved may take the name of other, which may be nil.
func replaceable(moved, other *Inode) syscall.Errno {
	switch {
	case other == nil || moved == other:
		return 0
	case moved.IsDir() && !other.IsDir():
		return syscall.ENOTDIR
	case !moved.IsDir() && other.IsDir():
		return syscall.EISDIR
	case other.IsDir() && len(other.dir.now) > 0:
		return syscall.ENOTEMPTY
	}
	return 0
}

func (d *Disk) move(from *Inode, name string, to *Inode, newName string) {
	moved, other := from.dir.now[name], to.dir.now[newName]
	seq := d.change(from, to, moved)
	from.set(seq, name, nil)
	to.set(seq, newName, moved)
	if other != nil {
		other.touched = seq
		d.unlinked(other)
	}
}

func (d *Disk) swap(a *Inode, name string, b *Inode, other string) {
	x, y := a.dir.now[name], b.dir.now[other]
	seq := d.change(a, b, x, y)
	a.set(seq, name, y)
	b.set(seq, other, x)
}
