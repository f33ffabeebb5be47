package httpapi

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// receipt answers GET /v1/messages/{id}.
func (s *Server) receipt(_ *request, id string) (response, error) {
	return s.about(id, s.spool.Receipt)
}

// cancel answers DELETE /v1/messages/{id}.
func (s *Server) cancel(_ *request, id string) (response, error) { return s.about(id, s.spool.Cancel) }

func (s *Server) about(text string, ask func(context.Context, message.ID) (message.Receipt, error)) (response, error) {
	id, err := message.ParseID(text)
	if err != nil {
		p := problem.New(problem.NotFound, "%.64q is no message ID: %s", text, err)
		p.Stored = problem.StoredNo
		return response{}, p
	}
	r, err := patiently(s, func(ctx context.Context) (message.Receipt, error) { return ask(ctx, id) })
	if err != nil {
		return response{}, aboutStored(err, id, r)
	}
	return s.jsonResponse(200, s.storyOf(r)), nil
}

// patiently asks, and does not wait longer for the disk than a publish does. What
// it has asked for goes on; Shutdown waits for it. As many may go on as there may
// be connections: of a disk that does not answer no more is asked.
func patiently[T any](s *Server, ask func(context.Context) (T, error)) (told T, err error) {
	if s.asking.Add(1) > int64(s.opts.MaxConns) {
		s.asking.Add(-1)
		return told, fmt.Errorf("%w: %w", spool.ErrUnknown, spool.ErrBusy)
	}
	ctx, cancel := context.WithTimeout(s.work, s.opts.AppendTimeout)
	defer cancel()
	type answer struct {
		told     T
		err      error
		panicked string
	}
	asked := make(chan answer, 1)
	s.serving.Go(func() { // this connection's goroutine is counted, too
		defer s.asking.Add(-1)
		var a answer
		defer func() {
			if p := recover(); p != nil { // for whoever contains those of a handler
				a.panicked = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
			asked <- a
		}()
		a.told, a.err = ask(ctx)
	})
	select {
	case a := <-asked:
		if a.panicked != "" {
			panic(a.panicked)
		}
		return a.told, a.err
	case <-ctx.Done():
		return told, fmt.Errorf("%w: %w", spool.ErrUnknown, ctx.Err())
	}
}

// aboutStored words the problems of a message that may be stored: a spool that
// is closed or read-only did not look. r is the message's receipt, if it has one.
func aboutStored(err error, id message.ID, r message.Receipt) error {
	p := problemOf(err)
	switch {
	case errors.Is(err, spool.ErrNotFound):
		p.Detail = "no message " + id.String() + " is held, and no receipt of it is kept"
	case errors.Is(err, spool.ErrAlreadySent):
		p.Detail = "the message is " + r.State.String()
		p.Stored = storedOf(r.State)
	case p.Stored == problem.StoredNo:
		p.Stored = problem.StoredUnknown
	}
	return p
}

func storedOf(state message.State) problem.Stored {
	if holds(state) {
		return problem.StoredYes
	}
	return problem.StoredNo
}
