package disk

import (
	"maps"
	"slices"
	"syscall"
)

// directory is a set of names: as the program sees it, as the disk has it, and
// the way from one to the other.
type directory struct {
	now, disk map[string]*Inode
	pending   []entryChange
}

// entryChange lets name lead to another inode, or to none.
type entryChange struct {
	seq  uint64
	name string
	to   *Inode
}

func newDirectory() *directory {
	return &directory{now: map[string]*Inode{}, disk: map[string]*Inode{}}
}

// set changes one name as part of change seq.
func (n *Inode) set(seq uint64, name string, to *Inode) {
	if to == nil {
		delete(n.dir.now, name)
	} else {
		n.dir.now[name] = to
		to.parent, to.name = n, name
	}
	n.dir.pending = append(n.dir.pending, entryChange{seq, name, to})
}

// Lookup finds a name in p.
func (d *Disk) Lookup(p *Inode, name string) (*Inode, syscall.Errno) {
	var n *Inode
	errno := d.inspect(func() syscall.Errno {
		if n = p.dir.now[name]; n == nil {
			return syscall.ENOENT
		}
		return 0
	})
	return n, errno
}

// Entry is a name and what it leads to.
type Entry struct {
	Name  string
	Inode *Inode
}

// List returns what is in p, sorted by name.
func (d *Disk) List(p *Inode) (list []Entry, errno syscall.Errno) {
	errno = d.inspect(func() syscall.Errno {
		for _, name := range slices.Sorted(maps.Keys(p.dir.now)) {
			list = append(list, Entry{name, p.dir.now[name]})
		}
		return 0
	})
	return list, errno
}

// Create makes an empty file, with one open handle.
func (d *Disk) Create(p *Inode, name string, mode uint32) (*Inode, syscall.Errno) {
	return d.add("create", p, name, mode, func() any { return new(file) })
}

// Mkdir makes an empty directory.
func (d *Disk) Mkdir(p *Inode, name string, mode uint32) (*Inode, syscall.Errno) {
	return d.add("mkdir", p, name, mode, func() any { return newDirectory() })
}

func (d *Disk) add(kind string, p *Inode, name string, mode uint32, body func() any) (n *Inode, errno syscall.Errno) {
	errno = d.mutate(kind, p, name, "", func() syscall.Errno {
		if p.dir.now[name] != nil {
			return syscall.EEXIST
		}
		n = d.newInode(mode, body())
		n.links = 1
		if n.file != nil {
			n.opens = 1
		}
		n.resized = d.change(p, n)
		p.set(n.resized, name, n)
		return 0
	})
	return n, errno
}

// Unlink removes the name of a file.
func (d *Disk) Unlink(p *Inode, name string) syscall.Errno {
	return d.remove("unlink", p, name, func(n *Inode) syscall.Errno {
		if n.IsDir() {
			return syscall.EISDIR
		}
		return 0
	})
}

// Rmdir removes an empty directory.
func (d *Disk) Rmdir(p *Inode, name string) syscall.Errno {
	return d.remove("rmdir", p, name, func(n *Inode) syscall.Errno {
		if !n.IsDir() {
			return syscall.ENOTDIR
		}
		if len(n.dir.now) > 0 {
			return syscall.ENOTEMPTY
		}
		return 0
	})
}

func (d *Disk) remove(kind string, p *Inode, name string, may func(*Inode) syscall.Errno) syscall.Errno {
	return d.mutate(kind, p, name, "", func() syscall.Errno {
		n := p.dir.now[name]
		if n == nil {
			return syscall.ENOENT
		}
		if errno := may(n); errno != 0 {
			return errno
		}
		p.set(d.change(p, n), name, nil)
		d.unlinked(n)
		return 0
	})
}

// SyncDir makes the names in p durable; under Ext4 the whole journal up to the
// last change of p.
func (d *Disk) SyncDir(p *Inode) syscall.Errno {
	d.stalled()
	return d.mutate("fsyncdir", p, "", "", func() syscall.Errno {
		if d.syncFails() {
			return syscall.EIO
		}
		d.commit(p.touched)
		if d.opts.Dirs == Posix {
			p.dir.disk, p.dir.pending = maps.Clone(p.dir.now), nil
		}
		return 0
	})
}

// commit makes the journal durable up to seq; under Posix nobody asks.
func (d *Disk) commit(seq uint64) { d.committed = max(d.committed, seq) }
