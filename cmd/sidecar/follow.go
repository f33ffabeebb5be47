package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
)

// patience is how long an interrupted command waits for an answer.
const patience = 15 * time.Second

// following is an operation of a sidecar that a command begins, shows, and stops when it
// is interrupted itself. T is the operation, as the admin API shows it.
type following[T any] struct {
	begin func(context.Context, *spooler) (json.RawMessage, error)
	what  string                                        // is counted
	at    func(ctx context.Context, now *T) counterLine // where it is
	until []os.Signal                                   // interrupt it
}

// follow returns the operation as it has ended, decoded and as it came. An interrupt stops
// it; one more ends the command at once.
func (f *following[T]) follow(c *cobra.Command, s *spooler) (now T, raw json.RawMessage, err error) {
	ctx, cancel := signal.NotifyContext(c.Context(), f.until...)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)() // the next signal is not caught
	if raw, err = f.begun(ctx, s); err != nil {
		return now, nil, err
	}
	counting := newCounter(c.ErrOrStderr(), f.what)
	defer counting.end()
	for {
		var op struct {
			ID    string `json:"id"`
			State string `json:"state"`
		}
		now = *new(T)
		if err = json.Unmarshal(raw, &op); err == nil {
			err = json.Unmarshal(raw, &now)
		}
		if err != nil || op.State != "running" {
			return now, raw, err
		}
		counting.show(f.at(ctx, &now))
		if raw, err = s.later(ctx, op.ID); err != nil {
			return now, raw, fmt.Errorf("follow operation %s, which may go on, see 'sidecar operation': %w", op.ID, err)
		}
	}
}

// begun begins it. What a sidecar was told to do goes on, whoever hears its answer: an
// interrupt waits for that, so that it can be stopped.
func (f *following[T]) begun(ctx context.Context, s *spooler) (json.RawMessage, error) {
	patient, cancel := patiently(ctx)
	defer cancel()
	raw, err := f.begin(patient, s)
	if err != nil && patient.Err() != nil {
		return nil, fail(exitPartly, "interrupted, and the sidecar did not say within %s whether it has begun, see 'sidecar operation list': %w", patience, err)
	}
	return raw, err
}

// patiently is ctx, and then patience longer.
func patiently(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		defer cancel()
		select {
		case <-time.After(patience):
		case <-late.Done():
		}
	})
	return late, func() {
		stop()
		cancel()
	}
}

// later is an operation a moment later, or when it was told to stop because ctx is done.
func (s *spooler) later(ctx context.Context, id string) (json.RawMessage, error) {
	path := "/v1/operations/" + id
	select {
	case <-time.After(100 * time.Millisecond):
		raw, err := s.ask(ctx, http.MethodGet, path)
		if ctx.Err() == nil {
			return raw, err
		}
	case <-ctx.Done():
	}
	ctx, cancel := patiently(ctx)
	defer cancel()
	return s.ask(ctx, http.MethodPost, path+"/stop")
}
