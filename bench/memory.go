package main

import (
	"context"
	"errors"

	"github.com/remora-mq/remora/bench/proc"
)

// memory watches what a peer holds while it is loaded.
type memory struct {
	pid  int // 0: there is nothing to watch
	stop context.CancelFunc
	done chan struct{} // closed when sampling has ended

	sampled, looked int64
	err, lookErr    error
}

// watchMemory samples the first process until end. Its children are only looked
// at after the load: walking hundreds of them would be felt in the figures.
func (c *contestant) watchMemory(ctx context.Context) *memory {
	ctx, stop := context.WithCancel(ctx)
	m := &memory{pid: c.PID(), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		if m.pid != 0 {
			m.sampled, m.err = proc.MostAnonymous(ctx, m.pid)
		}
	}()
	return m
}

// look is called once, after the load, while all connections are still open.
func (m *memory) look() {
	if m.pid != 0 {
		m.looked, m.lookErr = proc.AnonymousOfTree(m.pid)
	}
}

// end returns the most that was seen, in bytes.
func (m *memory) end() (int64, error) {
	m.stop()
	<-m.done
	return max(m.sampled, m.looked), errors.Join(m.err, m.lookErr)
}
