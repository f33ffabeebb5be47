package rocketmq

import (
	"errors"
	"fmt"
	"time"
)

// errExited: the process ended while something was still expected of it.
var errExited = errors.New("process ended")

// await asks until check returns nil: a JVM gives no signal when it is ready. It
// gives up after limit, or when exited is closed.
func await(limit time.Duration, exited <-chan struct{}, check func() error) error {
	deadline := time.After(limit)
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("%w; last: %w", errExited, err)
		case <-deadline:
			return fmt.Errorf("not ready after %v: %w", limit, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
