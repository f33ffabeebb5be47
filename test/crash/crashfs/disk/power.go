package disk

import (
	"slices"
	"sync"
	"syscall"
)

// Op is one mutating operation as it arrived, whether it succeeded or not.
type Op struct {
	Kind   string `json:"kind"` // create, mkdir, unlink, rmdir, rename, write, truncate, fallocate, fsync, fdatasync, fsyncdir
	Path   string `json:"path"` // from the root, as the program knew it then
	Detail string `json:"detail,omitempty"`
}

// power is the switch, and the brake before it.
type power struct {
	cut, held     bool
	resumed       bool // the held operation may go, and has not yet
	cutAt, holdAt int  // number of the operation; 0: none
	wake          sync.Cond
}

// admit counts an operation and lets it pass, wait, or fail.
func (d *Disk) admit(op Op) syscall.Errno {
	d.whileHeld()
	if d.power.cut {
		return syscall.EIO
	}
	d.history = append(d.history, op)
	switch len(d.history) {
	case d.power.cutAt:
		d.turnOff()
	case d.power.holdAt:
		d.hold(op)
	}
	if d.power.cut {
		return syscall.EIO
	}
	return 0
}

// hold keeps this operation until the next Resume. Those that wait behind it
// go on after it was applied: were one of them held before, a state taken then
// would lack a sync that is about to end.
func (d *Disk) hold(op Op) {
	d.power.held, d.power.resumed = true, false
	d.opts.Notify(Event{Kind: EventHeld, Ops: len(d.history), Held: &op})
	for !d.power.resumed && !d.power.cut {
		d.power.wake.Wait()
	}
	d.power.held = false
	d.power.wake.Broadcast()
}

func (d *Disk) whileHeld() {
	for d.power.held && !d.power.cut {
		d.power.wake.Wait()
	}
}

func (d *Disk) turnOff() {
	if d.power.cut {
		return
	}
	d.power.cut = true
	d.power.wake.Broadcast()
	d.faults.unstall()
	d.opts.Notify(Event{Kind: EventCut, Ops: len(d.history)})
}

// Cut takes the power: the state is frozen and every later call answers EIO.
func (d *Disk) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turnOff()
}

// CutAt cuts the power in place of the n-th operation from now; 0 takes it
// back.
func (d *Disk) CutAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.power.cutAt = d.fromNow(n)
}

// HoldAt makes the n-th operation from now, and all that come after it, wait
// for Resume or Cut; 0 takes it back. Meanwhile the state does not move, and
// reads go on.
func (d *Disk) HoldAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.power.holdAt = d.fromNow(n)
}

// Resume lets the held operations go, and holds again at the n-th after the
// one that was held; 0: never.
func (d *Disk) Resume(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.power.holdAt = d.fromNow(n)
	d.power.resumed = true
	d.power.wake.Broadcast()
}

func (d *Disk) fromNow(n int) int {
	if n == 0 {
		return 0
	}
	return len(d.history) + n
}

// Counts returns how many mutating operations arrived, and how many syncs of
// those were let through.
func (d *Disk) Counts() (ops, syncs int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.history), d.faults.syncs
}

// History returns all mutating operations; operation N is at N-1.
func (d *Disk) History() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clip(d.history)
}
