package disk

import (
	"fmt"
	"syscall"
	"time"
)

// file is the content of an inode: two images and the way from one to the
// other.
type file struct {
	now, disk image
	pending   []step
}

// step is one change of a file since its last sync: a page, or a new size.
type step struct {
	resize uint64 // number of the change of size; 0: a page
	page   int64
	data   []byte
	size   int64 // after a resize; else the file is at least this long
}

// Read fills p from off and returns how many bytes there are.
func (d *Disk) Read(n *Inode, p []byte, off int64) (int, syscall.Errno) {
	got := 0
	errno := d.inspect(func() syscall.Errno {
		got = n.file.now.readAt(p, off)
		return 0
	})
	return got, errno
}

// Write stores all of data at off, or nothing (ENOSPC).
func (d *Disk) Write(n *Inode, data []byte, off int64) syscall.Errno {
	detail := fmt.Sprintf("%d+%d", off, len(data))
	return d.mutate("write", n, "", detail, func() syscall.Errno {
		end := off + int64(len(data))
		if errno := d.allocate(n.file.holes(off, end)); errno != 0 {
			return errno
		}
		for at := off; at < end; {
			at += n.file.write(at, data[at-off:])
		}
		n.attr.Mtime = time.Now()
		return 0
	})
}

// holes counts the pages in [off, end) that are not allocated.
func (f *file) holes(off, end int64) (n int64) {
	for i := off / PageSize; i*PageSize < end; i++ {
		if _, ok := f.now.pages[i]; !ok {
			n++
		}
	}
	return n
}

// write copies the part of data that fits the page at off.
func (f *file) write(off int64, data []byte) int64 {
	i := off / PageSize
	b := make([]byte, PageSize)
	copy(b, f.now.page(i))
	n := int64(copy(b[off-i*PageSize:], data))
	f.now.put(i, b, off+n)
	f.note(step{page: i, data: b, size: off + n})
	return n
}

// note appends a step; a page written twice in a row is written once, as in
// the kernel's cache.
func (f *file) note(s step) {
	if last := len(f.pending) - 1; last >= 0 && s.resize == 0 && f.pending[last].resize == 0 && f.pending[last].page == s.page {
		s.size = max(s.size, f.pending[last].size)
		f.pending[last] = s
		return
	}
	f.pending = append(f.pending, s)
}

// Resize truncates or extends the file to size bytes.
func (d *Disk) Resize(n *Inode, size int64) syscall.Errno {
	return d.mutate("truncate", n, "", fmt.Sprint(size), func() syscall.Errno {
		d.resize(n, size)
		return 0
	})
}

func (d *Disk) resize(n *Inode, size int64) {
	seq := d.change(n)
	n.resized = seq
	d.pages -= n.file.now.resize(size)
	n.file.note(step{resize: seq, size: size})
}

// Allocate reserves the blocks of [off, off+length), which read as zeros. Only
// the size, unless it is kept, has to survive a crash.
func (d *Disk) Allocate(n *Inode, off, length int64, keepSize bool) syscall.Errno {
	detail := fmt.Sprintf("%d+%d keep=%t", off, length, keepSize)
	return d.mutate("fallocate", n, "", detail, func() syscall.Errno {
		f, end := n.file, off+length
		if errno := d.allocate(f.holes(off, end)); errno != 0 {
			return errno
		}
		for i := off / PageSize; i*PageSize < end; i++ {
			f.now.put(i, f.now.page(i), 0)
		}
		if !keepSize && end > f.now.size {
			d.resize(n, end)
		}
		return 0
	})
}

// Sync makes the file's data and size durable, and under Ext4 the changes of
// names up to the last one that touched it. dataOnly (fdatasync, msync) does
// not wait for its renames.
func (d *Disk) Sync(n *Inode, dataOnly bool) syscall.Errno {
	kind := "fsync"
	if dataOnly {
		kind = "fdatasync"
	}
	d.stalled()
	return d.mutate(kind, n, "", "", func() syscall.Errno {
		if d.syncFails() {
			n.file.dropPages()
			return syscall.EIO
		}
		n.file.settle()
		if dataOnly {
			d.commit(n.resized)
		} else {
			d.commit(n.touched)
		}
		return 0
	})
}

// dropPages forgets which pages were written; sizes are in the journal and
// stay.
func (f *file) dropPages() {
	var kept []step
	for _, s := range f.pending {
		if s.resize != 0 {
			kept = append(kept, s)
		}
	}
	f.pending = kept
}

// settle replays all that is pending onto the durable image.
func (f *file) settle() {
	f.disk = f.replay(&fate{survivors: All})
	f.disk.size = f.now.size
	f.pending = nil
}
