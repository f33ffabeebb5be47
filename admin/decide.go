package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// decidable is what an operator decides of.
type decidable struct {
	noun string
	name string // of the path's part that names one
	ask  string // where it is told how one is
}

var (
	aSubscription = decidable{"subscription", "name", "GET /v1/subscriptions"}
	aTopic        = decidable{"topic", "topic", "GET /v1/topics"}
)

// decide answers a POST by which an operator decides of a subscription, or of a topic.
func (a *api) decide(of decidable, what string, do func(ctx context.Context, name string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue(of.name)
		now, err := do(r.Context(), name)
		if err != nil {
			a.log.Warn(of.noun+" was not changed", of.noun, name, "wanted", what, "error", err)
			writeProblem(w, of.undecided(err))
			return
		}
		a.log.Info("an operator has decided of a "+of.noun, of.noun, name, "decided", what, "remote", r.RemoteAddr)
		writeJSON(w, http.StatusOK, now)
	}
}

// undecided is the problem of a decision that was not recorded, or may not be.
func (of decidable) undecided(err error) *problem.Problem {
	refused, ok := errors.AsType[*problem.Problem](err)
	switch {
	case ok:
		return refused
	case errors.Is(err, kv.ErrUnknown):
		return problem.New(problem.Internal, "it may be recorded or not; the sidecar's log says why. Ask %s", of.ask)
	case errors.Is(err, kv.ErrClosed), errors.Is(err, spool.ErrClosed):
		return problem.New(problem.Draining, "the spool is closing")
	case errors.Is(err, kv.ErrFenced), errors.Is(err, spool.ErrReadOnly):
		return problem.New(problem.SpoolReadOnly, "nothing was recorded: a sync failed, and the sidecar is about to restart")
	}
	return problem.New(problem.Internal, "the sidecar's log says why; ask %s how it is", of.ask)
}
