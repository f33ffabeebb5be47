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

// steps is the shutdown. The first four share the drain's deadline, and the
// forwarder works beside all of them. Each step takes what it finds: a part
// that was not opened is nil.
func (s *Sidecar) steps() lifecycle.Steps {
	p := &s.parts
	drain := s.cfg.Drain.Timeout.Std()
	if !s.wasReady() {
		drain = 0 // it accepted nothing; what it found in the spool can wait
	}
	deadline := time.Now().Add(drain)
	bounded := func(name string, do func(context.Context) error) lifecycle.Step {
		return lifecycle.Step{Name: name, Timeout: drain + time.Second, Do: func(ctx context.Context) error {
			ctx, cancel := context.WithDeadline(ctx, deadline)
			defer cancel()
			return do(ctx)
		}}
	}
	last := func(name string, do func(context.Context) error) lifecycle.Step {
		return lifecycle.Step{Name: name, Timeout: closing, Do: do}
	}
	return lifecycle.Steps{
		bounded("stop fetching", func(ctx context.Context) error { return end(ctx, p.subscriptions...) }),
		bounded("stop accepting", s.stopAccepting),
		bounded("forward what is left", s.forwardRest),
		last("stop forwarding", s.stopForwarding),
		last("close broker", func(context.Context) error { return s.closeBroker() }),
		last("close spool", func(context.Context) error { return s.closeSpool() }),       //nolint:contextcheck // ends by itself: it waits for one commit
		last("close database", func(context.Context) error { return s.closeDatabase() }), //nolint:contextcheck // bounded by kv
		last("stop answering", s.stopAnswering),
	}
}

func (s *Sidecar) stopAccepting(ctx context.Context) error {
	if s.parts.data == nil {
		return nil
	}
	return errors.Join(s.parts.data.Shutdown(ctx), end(ctx, s.parts.serving...))
}

// forwardRest waits until the broker has everything. What it does not get in
// time is safe, so running out of time is said and is no error.
func (s *Sidecar) forwardRest(ctx context.Context) error {
	if s.parts.spool == nil || s.parts.forwarding == nil || !s.wasReady() {
		return nil
	}
	err := s.parts.spool.Drained(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("drain deadline reached; the rest waits in the spool for the next start",
			"messages", s.parts.spool.Ledger().Total.InSpool.Held(), "drain_timeout", s.cfg.Drain.Timeout.String())
		return nil
	}
	return err
}

func (s *Sidecar) stopForwarding(ctx context.Context) error {
	if s.parts.forwarding == nil {
		return nil
	}
	return end(ctx, s.parts.forwarding, s.parts.noticing)
}

func (s *Sidecar) closeBroker() error {
	var failed []error
	if s.parts.producer != nil {
		failed = append(failed, s.parts.producer.Close())
	}
	if s.parts.backend != nil {
		failed = append(failed, s.parts.backend.Close())
	}
	return errors.Join(failed...)
}

func (s *Sidecar) closeSpool() error {
	var failed []error
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
	return errors.Join(append(failed, end(ctx, s.parts.watching...))...)
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
