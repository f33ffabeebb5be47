package ackgate

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
)

// door holds everyone back from what does not work, but one who probes it.
// It is open when new.
type door struct {
	retry backoff.Policy

	mu       sync.Mutex
	shut     bool
	since    time.Time // when it was shut
	probing  bool      // somebody is trying
	failures int       // probes in a row
	next     time.Time // when the next probe may begin
	changed  chan struct{}
}

func newDoor(retry backoff.Policy) *door {
	return &door{retry: retry, changed: make(chan struct{})}
}

// visit is one passing of a door. Its end is leave, once.
type visit struct {
	d     *door
	probe bool
}

// result is what a visitor can tell of what is behind the door.
type result uint8

const (
	unseen  result = iota // did not get that far
	working               // it answered
	broken                // it did not
	tooBusy               // it had no time: soon it may
)

// enter waits until the door is open, or it is this caller's turn to probe.
func (d *door) enter(ctx context.Context) (visit, error) {
	for {
		v, wait, changed := d.try()
		if v.d != nil {
			return v, nil
		}
		if err := sleepUnless(ctx, wait, changed); err != nil {
			return visit{}, err
		}
	}
}

// try passes the door, or tells how long to wait, or for what. A visit
// without door has not passed.
func (d *door) try() (v visit, wait time.Duration, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.shut:
		return visit{d: d}, 0, nil
	case d.probing:
		return visit{}, math.MaxInt64, d.changed
	}
	if wait = time.Until(d.next); wait > 0 {
		return visit{}, wait, d.changed
	}
	d.probing = true
	return visit{d: d, probe: true}, 0, nil
}

// leave tells what the visitor saw, and returns whether the door turned.
func (v visit) leave(r result) (turned bool) {
	d := v.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.probe {
		d.probing = false
	}
	was := d.shut
	switch {
	case r == working:
		d.shut, d.failures = false, 0
	case (r == broken || r == tooBusy) && (v.probe || !d.shut): // who entered before it was shut is no probe
		if d.shut = true; !was {
			d.since = time.Now()
		}
		d.failures++
		d.next = time.Now().Add(d.pause(r))
	}
	if v.probe || was != d.shut {
		close(d.changed)
		d.changed = make(chan struct{})
	}
	return was != d.shut
}

// pause is how long nobody probes after r.
func (d *door) pause(r result) time.Duration {
	retry := d.retry
	if r == tooBusy {
		retry = backoff.Policy{Initial: 2 * askSoon, Max: askAgain}
	}
	return retry.Delay(d.failures, backoff.Random{})
}

// shutSince tells since when the door is shut.
func (d *door) shutSince() (since time.Time, shut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.since, d.shut
}

// sleepUnless returns nil after wait, or when done is closed; else ctx's error.
func sleepUnless(ctx context.Context, wait time.Duration, done <-chan struct{}) error {
	_, err := sleepUnlessTold(ctx, wait, done, nil)
	return err
}

// sleepUnlessTold is sleepUnless, and ends also when something is in tell; was: it took that.
func sleepUnlessTold(ctx context.Context, wait time.Duration, done, tell <-chan struct{}) (was bool, err error) {
	if ctx.Err() != nil || wait <= 0 {
		return false, context.Cause(ctx)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-tell:
		return true, nil
	case <-t.C:
	case <-done:
	}
	return false, nil
}
