package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// ErrAbandoned marks a step that did not return within its time.
var ErrAbandoned = errors.New("step abandoned: still running when its time was over")

// Step is one act of a shutdown.
type Step struct {
	// Name is a verb phrase for the log: "stop accepting".
	Name string
	// Do performs the act. It should return soon after ctx is done.
	Do func(ctx context.Context) error
	// Timeout bounds Do; 0 means that only the caller's context does.
	Timeout time.Duration
}

// Steps is a shutdown in order.
type Steps []Step

// Names returns the names in the order in which Run performs the steps.
func (s Steps) Names() []string {
	names := make([]string, len(s))
	for i, step := range s {
		names[i] = step.Name
	}
	return names
}

// Run performs every step in order, each after the one before it has returned
// or was abandoned, and returns all their errors joined, each wrapped with the
// step's name. A context that is done shortens steps, it does not skip them:
// each still gets its call.
func (s Steps) Run(ctx context.Context, log *slog.Logger) error {
	var failed []error
	for _, step := range s {
		began := time.Now()
		err := step.run(ctx)
		took := time.Since(began)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", step.Name, err))
		}
		log.LogAttrs(ctx, slog.LevelInfo, "shutdown step ended",
			slog.String("step", step.Name), slog.Duration("took", took), slog.Bool("ok", err == nil))
	}
	return errors.Join(failed...)
}

func (s Step) run(ctx context.Context) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()

	ended := make(chan error, 1)
	go func() { ended <- s.Do(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return lastWord(ended)
	}
}

func (s Step) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, s.Timeout)
}

// grace is what a step gets to return after its context is done: long enough
// to unwind, short enough not to be felt by whoever waits for the exit.
const grace = 250 * time.Millisecond

func lastWord(ended <-chan error) error {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		return ErrAbandoned
	}
}
