package sidecar

import (
	"context"
	"errors"
	"time"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/internal/lifecycle"
)

// closing is what each of the last steps may take; kv bounds its own Close.
const closing = 15 * time.Second

// least is what a step gets however short the drain is: to unwind a call that
// was cancelled, or to answer a publish that is being stored.
const least = 2 * time.Second

// steps is the shutdown. Fetching may take half of the drain, forwarding the
// rest of it, at least the other half; requests are answered until all of that
// is over. Each step takes what it finds: a part that was not opened is nil.
func (s *Sidecar) steps() lifecycle.Steps {
	deadline := time.Now().Add(s.cfg.Drain.Timeout.Std())
	last := func(name string, do func(context.Context) error) lifecycle.Step {
		return lifecycle.Step{Name: name, Timeout: closing, Do: do}
	}
	return lifecycle.Steps{
		{Name: "stop fetching", Timeout: s.handlerShare() + least, Do: s.stopFetching},
		last("stop check-backs", s.stopChecks),
		last("end operations", s.endOperations),
		{Name: "stop accepting", Do: s.stopAccepting},
		{Name: "forward what is left", Do: func(ctx context.Context) error {
			deadline = later(deadline, time.Now().Add(s.cfg.Drain.Timeout.Std()/2))
			_, err := s.forwardRest(ctx, deadline)
			return err
		}},
		{Name: "end requests", Do: func(ctx context.Context) error { return s.endRequests(ctx, deadline) }},
		last("stop forwarding", s.stopForwarding),
		last("stop half messages", s.stopHalves),
		last("close broker", func(context.Context) error { return s.closeBroker() }),
		last("close spool", func(context.Context) error { return s.closeSpool() }),       //nolint:contextcheck // ends by itself: it waits for one commit
		last("close database", func(context.Context) error { return s.closeDatabase() }), //nolint:contextcheck // bounded by kv
		last("stop answering", s.stopAnswering),
	}
}

// handlerShare is the part of the drain that running handler calls may use.
func (s *Sidecar) handlerShare() time.Duration { return s.cfg.Drain.Timeout.Std() / 2 }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// endOperations ends what operators have begun: a redrive would bring the drain
// more than was accepted. What it has done stays done.
func (s *Sidecar) endOperations(ctx context.Context) error {
	if s.parts.operators == nil {
		return nil
	}
	return s.parts.operators.EndOperations(ctx)
}

// stopFetching ends the gates, which cancel their calls when their share is
// over. One that does not return then is left behind: its messages are not
// acked, so the broker has them.
func (s *Sidecar) stopFetching(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.handlerShare()+least/2)
	defer cancel()
	running, err := end(ctx, s.parts.subscriptions...)
	if len(running) > 0 {
		s.log.Warn("subscriptions have not ended; the broker delivers their messages again", "subscriptions", running)
	}
	return err
}

// stopAccepting refuses publishes from now on. Those in flight go on, and
// receipts can be read until "end requests".
func (s *Sidecar) stopAccepting(context.Context) error {
	if s.parts.data != nil {
		s.parts.data.Drain()
	}
	return nil
}

// forwardRest waits until the broker has everything, or the deadline: what it
// does not get in time is safe.
func (s *Sidecar) forwardRest(ctx context.Context, deadline time.Time) (left bool, err error) {
	if s.parts.spool == nil || s.parts.forwarding == nil || !s.wasReady() {
		return false, nil // it accepted nothing; what it found in the spool can wait
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	err = s.parts.spool.Drained(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return true, nil
	}
	return false, err
}

// endRequests answers the last ones and forwards what they brought.
func (s *Sidecar) endRequests(ctx context.Context, deadline time.Time) error {
	defer s.parts.answered.Store(true)
	if s.parts.data == nil {
		return nil
	}
	failed := s.endData(ctx, later(deadline, time.Now().Add(least)))
	left, err := s.forwardRest(ctx, deadline)
	if left {
		s.log.Warn("drain deadline reached; the rest waits in the spool for the next start",
			"messages", s.parts.spool.Total().InSpool.Held(), "drain_timeout", s.cfg.Drain.Timeout.String())
	}
	return errors.Join(failed, err)
}

// endData closes the data listeners. A connection that had to be cut was still
// sending its request: nothing of it is stored.
func (s *Sidecar) endData(ctx context.Context, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	err := s.parts.data.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("not every request was answered", "error", err)
		err = nil
	}
	_, failed := end(ctx, s.parts.serving...)
	return errors.Join(err, failed)
}

func (s *Sidecar) stopForwarding(ctx context.Context) error {
	if s.parts.forwarding == nil {
		return nil
	}
	tasks := []*task{s.parts.forwarding, s.parts.noticing, s.parts.roomKeeping}
	for _, t := range []*task{s.parts.asking, s.parts.inspecting, s.parts.counting} {
		if t != nil {
			tasks = append(tasks, t)
		}
	}
	return mustEnd(ctx, tasks...)
}

func (s *Sidecar) closeBroker() error {
	var failed []error
	if s.parts.halves != nil {
		failed = append(failed, s.parts.halves.Close())
	}
	if s.parts.producer != nil {
		failed = append(failed, s.parts.producer.Close())
	}
	failed = append(failed, s.parts.groups.close())
	if s.parts.backend != nil {
		failed = append(failed, s.parts.backend.Close())
	}
	return errors.Join(failed...)
}

func (s *Sidecar) closeSpool() error {
	var failed []error
	failed = append(failed, s.parts.shared.close())
	if s.parts.seen != nil {
		failed = append(failed, s.parts.seen.Close())
	}
	if s.parts.marks != nil {
		failed = append(failed, s.parts.marks.Close())
	}
	if s.parts.spool != nil {
		failed = append(failed, s.parts.spool.Close())
	}
	return errors.Join(failed...)
}

func (s *Sidecar) closeDatabase() error {
	s.parts.storage.close()
	if s.parts.db == nil {
		return nil
	}
	return s.parts.db.Close()
}

func (s *Sidecar) stopAnswering(ctx context.Context) error {
	var failed []error
	for _, w := range s.parts.watchers {
		failed = append(failed, w.Shutdown(ctx))
	}
	return errors.Join(append(failed, mustEnd(ctx, s.parts.watching...))...)
}

// lastWords is what requests get to be answered after the storage has failed.
const lastWords = time.Second

// fail answers who waits and closes nothing: Badger's Close would write what
// was never acknowledged.
func (s *Sidecar) fail(ctx context.Context) {
	s.conditions.Set(admin.ReadOnly, true)
	s.log.Error("storage failed; ending without closing it", "exit_code", ExitStorage)
	if s.parts.data == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if err := s.parts.data.Shutdown(ctx); err != nil {
		s.log.Warn("not every request was answered", "error", err)
	}
}
