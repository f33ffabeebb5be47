package disk

import "time"

// faults are what can be made to go wrong with a sync.
type faults struct {
	syncs  int
	failAt int           // number of the sync that fails; 0: none
	stall  time.Duration // before each sync
	// changed is closed when stall is: who waits then starts anew.
	changed chan struct{}
}

// FailSync lets the n-th sync from now, of file or directory, fail with EIO; 0
// takes it back. A file's unsynced pages are then never written.
func (d *Disk) FailSync(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults.failAt = 0
	if n > 0 {
		d.faults.failAt = d.faults.syncs + n
	}
}

// syncFails counts a sync and says whether it is the one.
func (d *Disk) syncFails() bool {
	d.faults.syncs++
	return d.faults.syncs == d.faults.failAt
}

// Stall makes each sync wait that long before it does anything; 0 ends it,
// also for those that wait.
func (d *Disk) Stall(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults.stall = delay
	d.faults.unstall()
}

func (f *faults) unstall() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// stalled waits out the stall. It must not hold the lock.
func (d *Disk) stalled() {
	d.mu.Lock()
	delay, changed := d.faults.stall, d.faults.changed
	d.mu.Unlock()
	if delay == 0 {
		return
	}
	select {
	case <-time.After(delay):
	case <-changed:
	}
}
