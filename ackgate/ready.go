package ackgate

import (
	"context"
	"log/slog"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
)

// Readiness is how often the application is asked whether it is ready.
type Readiness struct {
	// Every is how often while it is; 0: 5 s.
	Every time.Duration
	// Probe is the wait while it is not; zero: 250 ms, doubling up to 5 s.
	Probe backoff.Policy
	// Timeout of one question; 0: 2 s.
	Timeout time.Duration
}

func (r Readiness) withDefaults() Readiness {
	setDefault(&r.Every, 5*time.Second)
	setDefault(&r.Probe, backoff.Policy{Initial: 250 * time.Millisecond, Max: 5 * time.Second})
	setDefault(&r.Timeout, 2*time.Second)
	return r
}

// AwaitReady holds calls up until the application says for the first time that it
// is ready. It is called before Watch, and before a gate runs.
func (b *Brake) AwaitReady() { b.Apply(NotReady, time.Now(), "it has not been asked yet") }

// Watch asks until ctx is done, and then returns nil: calls are held up from the
// first answer that is an error to the next that is none. One that does not come
// in time is an error.
func (b *Brake) Watch(ctx context.Context, ask func(context.Context) error, r Readiness, log *slog.Logger) error {
	r = r.withDefaults()
	for failures := 0; ctx.Err() == nil; {
		err := b.ask(ctx, ask, r.Timeout)
		wait := r.Every
		switch {
		case ctx.Err() != nil: // the answer is of no use
		case err == nil:
			failures = 0
			if b.Release(NotReady) {
				log.Info("application is ready; its messages are delivered", "subscription", b.subscription)
			}
		default:
			failures++
			wait = r.Probe.Delay(failures, backoff.Random{})
			if b.Apply(NotReady, time.Now(), err.Error()) || failures == 1 {
				log.Warn("application is not ready; its messages are held until it is", "subscription", b.subscription, "error", err)
			}
		}
		_ = sleepUnless(ctx, wait, nil) // the loop looks
	}
	return nil
}

func (b *Brake) ask(ctx context.Context, ask func(context.Context) error, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return ask(ctx)
}
