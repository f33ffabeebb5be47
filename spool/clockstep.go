package spool

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"
)

// A wall clock that is set by more than an hour, while the spool is open or since
// it last wrote, may be wrong, before or after. Nothing is ended by time then, no
// TTL and no idempotency key, until an operator has confirmed the time or it was
// steady for an hour. That is in the head, so a restart ends it no sooner. What is
// to be delivered at a time of the wall clock follows it at once.
const (
	// stepSize is by how much the wall clock may be set without that.
	stepSize = time.Hour
	// steady is how long it may not be set, by the spool's clock, to be believed.
	steady = time.Hour
	// noteEvery bounds how old the time in the head is: by that a step is told from
	// the time for which a process that is killed was idle.
	noteEvery = 10 * time.Minute
)

// clockStep is a step of the wall clock, in milliseconds of the spool's clock.
type clockStep struct {
	until uint64 // it is believed then; 0: there is none
	by    int64  // how far it was set
	gap   uint64 // how much of the spool's clock, before the hour began, is not certain
}

func (x clockStep) append(b []byte) []byte {
	return binary.AppendUvarint(binary.AppendVarint(binary.AppendUvarint(b, x.until), x.by), x.gap)
}

func readStep(f *fields) (x clockStep) {
	x.until = f.uint()
	by := f.uint() // as AppendVarint writes it: zigzag
	x.by = int64(by>>1) ^ -int64(by&1)
	x.gap = f.uint()
	return x
}

// newStep begins an hour in which the time has to be steady.
func newStep(now uint64, by int64, gap uint64) clockStep {
	return clockStep{until: now + uint64(steady.Milliseconds()), by: by, gap: gap}
}

// tooFar reports whether a clock was set by more than may be.
func tooFar(by int64) bool { return by > stepSize.Milliseconds() || by < -stepSize.Milliseconds() }

// ClockStep tells of a wall clock that was set, and that nobody has confirmed.
type ClockStep struct {
	By    time.Duration // how far, or for how long nothing was written: that cannot be told apart
	Until time.Time     // of the wall clock: it is believed then, if it is not set again
}

// ClockStep returns the step that keeps things from being ended by time; ok is
// false: there is none.
func (s *Spool) ClockStep() (step ClockStep, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.head.step
	if x.until == 0 {
		return step, false
	}
	left := time.Duration(int64(x.until)-int64(s.clock.now())) * time.Millisecond
	return ClockStep{By: time.Duration(x.by) * time.Millisecond, Until: s.now().Add(max(left, 0))}, true
}

// ConfirmClock says that the wall clock is right: what it holds goes on. When it
// returns nil that is on stable storage. It returns the step that was confirmed;
// none: false.
func (s *Spool) ConfirmClock(ctx context.Context) (step ClockStep, was bool, err error) {
	if step, was = s.ClockStep(); !was {
		return step, false, nil
	}
	if err := s.commit(ctx, &setStep{}); err != nil {
		return step, true, fmt.Errorf("confirm the time: %w", err)
	}
	return step, true, nil
}

// clockHeld reports whether nothing is to be ended by time. s.mu is held.
func (s *Spool) clockHeld() bool { return s.head.step.until > 0 }

// certain is a time by the spool's clock that is surely over: that of now, but for
// what was before the process began, of which it is not known how long it took.
// s.mu is held.
func (s *Spool) certain(at uint64) time.Time {
	now := s.clock.now()
	if x := s.head.step; x.gap > 0 && at <= x.until-uint64(steady.Milliseconds())-x.gap {
		now -= x.gap
	}
	return time.UnixMilli(int64(now))
}

// foundStep looks, at open, how far the wall clock is from where the head noted it.
// A spool that has nothing to end by time holds nothing.
func (s *Spool) foundStep(h head) {
	if x := s.head.step; x.until > 0 && x.until <= s.clock.now() {
		s.head.step = clockStep{}
	}
	by := int64(millis(s.opts.Now())) - int64(h.wall)
	if h.wall == 0 || !tooFar(by) || !s.timeEnds() {
		return
	}
	s.head.step = newStep(s.clock.now(), by, uint64(max(by, 0)))
	s.tellStep()
}

// timeEnds reports whether there is anything that time ends: a TTL, or a key. s.mu
// is held.
func (s *Spool) timeEnds() bool { return s.ttl.held > 0 || s.keys.count > 0 }

// wallAhead is by how much the wall clock is ahead of the spool's.
func (s *Spool) wallAhead() int64 { return int64(millis(s.opts.Now())) - int64(s.clock.now()) }

// watchClock looks whether the wall clock was set, or was steady for long enough,
// and notes the time.
func (s *Spool) watchClock() error {
	if op := s.timeToNote(); op != nil {
		if err := s.commit(s.life, op); err != nil {
			return fmt.Errorf("note the time: %w", err)
		}
	}
	return nil
}

// timeToNote is what is to be written of the time now; nil: nothing.
func (s *Spool) timeToNote() operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	step, now := s.head.step, s.clock.now()
	by := s.wallAhead() - s.wallApart
	switch {
	case tooFar(by):
		s.wallApart += by
		next := newStep(now, by, 0)
		if step.gap > 0 { // of the same time before
			next.gap = step.gap + next.until - step.until
		}
		return &setStep{next}
	case step.until > 0 && step.until <= now:
		return &setStep{}
	case s.timeEnds() && now >= s.head.clock+uint64(noteEvery.Milliseconds()):
		return &flush{}
	}
	return nil
}

// setStep begins to hold what is ended by time, or ends that.
type setStep struct{ step clockStep }

func (*setStep) size() int { return fixedSize }

func (op *setStep) apply(c *commit) { c.s.head.step = op.step }

func (op *setStep) synced(s *Spool) {
	s.tellStep()
	s.ttl.sooner.raise()
	for _, l := range s.lanes {
		l.ready.raise()
	}
}

func (s *Spool) tellStep() {
	x := s.head.step
	if x.until == 0 {
		s.opts.Logger.Info("the time is believed: TTLs and idempotency keys end again")
		return
	}
	s.opts.Logger.Warn("the wall clock was set, or nothing was written for long: no TTL and no idempotency key ends until the time is confirmed, or was steady for an hour",
		"by", (time.Duration(x.by) * time.Millisecond).String(), "confirm", "sidecar spool confirm-clock")
}
