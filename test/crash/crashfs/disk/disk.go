package disk

import (
	"sync"
	"syscall"
	"time"
)

// Dirs names the rule by which changes of names and sizes become durable.
type Dirs string

// The two rules; the package doc has their meaning.
const (
	Ext4  Dirs = "ext4"
	Posix Dirs = "posix"
)

// Options of a Disk.
type Options struct {
	Dirs   Dirs        // empty: Ext4
	Space  int64       // bytes the files may allocate; 0: no limit
	From   *Tree       // what it holds at first, all durable; nil: nothing
	Notify func(Event) // told once an event; it must not call back; may be nil
}

// Event is something a test may wait for.
type Event struct {
	Kind string `json:"kind"`           // EventHeld or EventCut
	Ops  int    `json:"ops,omitempty"`  // operations that have arrived, the held one included
	Held *Op    `json:"held,omitempty"` // the operation that waits
}

// The kinds of events.
const (
	EventHeld = "held"
	EventCut  = "cut"
)

// Disk is a file system in memory that can lose power.
type Disk struct {
	mu   sync.Mutex
	opts Options
	root *Inode

	lastID    uint64
	pages     int64  // allocated, of all files still reachable or open
	journal   uint64 // number of the last change of a name or size
	committed uint64 // Ext4: changes up to this one are durable

	power   power
	history []Op
	faults  faults
}

// New returns a disk with power.
func New(o Options) *Disk {
	if o.Dirs == "" {
		o.Dirs = Ext4
	}
	if o.Notify == nil {
		o.Notify = func(Event) {}
	}
	d := &Disk{opts: o}
	d.power.wake.L = &d.mu
	d.faults.changed = make(chan struct{})
	d.root = d.newInode(0o755, newDirectory())
	if o.From != nil {
		d.load(d.root, o.From)
	}
	return d
}

// Root returns the top directory.
func (d *Disk) Root() *Inode { return d.root }

// Usage returns the bytes allocated and the limit (0: none).
func (d *Disk) Usage() (used, limit int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pages * PageSize, d.opts.Space
}

// SetSpace changes the limit of bytes; 0 lifts it. What is allocated stays.
func (d *Disk) SetSpace(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opts.Space = bytes
}

// allocate takes pages from the free space, or none.
func (d *Disk) allocate(pages int64) syscall.Errno {
	if d.opts.Space > 0 && pages > 0 && (d.pages+pages)*PageSize > d.opts.Space {
		return syscall.ENOSPC
	}
	d.pages += pages
	return 0
}

// mutate runs one counted operation on n (or on the entry name in it), unless
// the power is gone.
func (d *Disk) mutate(kind string, n *Inode, name, detail string, apply func() syscall.Errno) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errno := d.admit(Op{Kind: kind, Path: n.path(name), Detail: detail}); errno != 0 {
		return errno
	}
	return apply()
}

// inspect runs a read, unless the power is gone.
func (d *Disk) inspect(read func() syscall.Errno) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.power.cut {
		return syscall.EIO
	}
	return read()
}

// change numbers a change of names or sizes that touches the nodes.
func (d *Disk) change(nodes ...*Inode) uint64 {
	d.journal++
	for _, n := range nodes {
		n.touched = d.journal
		n.attr.Mtime = time.Now()
	}
	return d.journal
}
