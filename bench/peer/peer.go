package peer

import (
	"context"
	"time"

	"github.com/remora-mq/remora/bench/load"
)

// Peer takes messages and answers each one when it has done its work: for
// all but NoStore, when the message would survive a power loss.
type Peer interface {
	// Name is how the report calls it.
	Name() string
	// Start brings it up in dir, an empty folder of its own. ctx bounds the start.
	Start(ctx context.Context, dir string) (Running, error)
}

// Running is a peer that is up.
type Running interface {
	// Dial opens one connection.
	Dial(ctx context.Context) (load.Client, error)
	// PID is the process that does the work; 0: this one.
	PID() int
	// Forget drops what was sent, where it would otherwise pile up. It is called
	// between measurements and not measured.
	Forget(ctx context.Context) error
	// Stop ends it and returns when it is gone. An error also says when it does
	// not hold what it answered for.
	Stop() error
}

// grace is how long a server may take to end.
const grace = 60 * time.Second
