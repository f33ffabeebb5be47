package control

import (
	"time"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// What a request can ask for; the methods of disk.Disk have the details.
const (
	Cut      = "cut"       // take the power
	CutAt    = "cut-at"    // … in place of the N-th mutating operation from now
	HoldAt   = "hold-at"   // let the N-th mutating operation from now wait
	Resume   = "resume"    // let it go, and hold the N-th after it (0: none)
	FailSync = "fail-sync" // EIO at the N-th sync from now
	Stall    = "stall"     // each sync waits Delay first
	Space    = "space"     // limit the allocated bytes to N
	Survive  = "survive"   // write the surviving state to the new directory Dir
	Counts   = "counts"
	History  = "history" // all mutating operations
	Quit     = "quit"
)

// EventMounted is the kind of the first event; the others are disk's.
const EventMounted = "mounted"

// Request is one line to crashfs.
type Request struct {
	Do        string        `json:"do"`
	N         int64         `json:"n,omitempty"`
	Delay     time.Duration `json:"delay_ns,omitempty"`
	Dir       string        `json:"dir,omitempty"`
	Survivors string        `json:"survivors,omitempty"` // text form of disk.Survivors
}

// Reply is one line from crashfs; it is no reply but an event if Event is set.
type Reply struct {
	Event   *disk.Event `json:"event,omitempty"`
	Error   string      `json:"error,omitempty"`
	Ops     int         `json:"ops,omitempty"`   // mutating operations that arrived
	Syncs   int         `json:"syncs,omitempty"` // of these, syncs that were let through
	History []disk.Op   `json:"history,omitempty"`
}
