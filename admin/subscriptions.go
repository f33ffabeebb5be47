package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/problem"
)

// Subscriptions is what is known of subscriptions, and done with them. What is
// returned is as JSON will show it; an error may be a *problem.Problem.
type Subscriptions struct {
	List func() any // a list
	// Pause and Resume return the subscription as it then is, when that is on
	// stable storage.
	Pause, Resume func(ctx context.Context, name string) (any, error)
	// Reset moves the group of a subscription to a time, and returns where it was and
	// is then; a dry run, what that would be.
	Reset func(ctx context.Context, name string, to time.Time, dryRun bool) (any, error)
}

func (a *api) routeSubscriptions(mux *routes) {
	mux.HandleFunc("GET /v1/subscriptions", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, struct {
			Items any `json:"items"`
		}{a.Subscriptions.List()})
	})
	mux.HandleFunc("POST /v1/subscriptions/{name}/pause", a.decide("pause", a.Subscriptions.Pause))
	mux.HandleFunc("POST /v1/subscriptions/{name}/resume", a.decide("resume", a.Subscriptions.Resume))
	mux.HandleFunc("POST /v1/subscriptions/{name}/reset", a.reset)
}

// reset answers POST /v1/subscriptions/{name}/reset.
func (a *api) reset(w http.ResponseWriter, r *http.Request) {
	var wish struct {
		To     *time.Time `json:"to"`
		DryRun bool       `json:"dry_run"`
	}
	p := readObject(r, &wish, `{"to": "2026-01-02T03:04:05Z", "dry_run"}`)
	if p == nil && wish.To == nil {
		p = problem.New(problem.InvalidOption, "give to, the time to which the group shall go (RFC 3339)")
	}
	if p != nil {
		writeProblem(w, p)
		return
	}
	what := "reset to " + wish.To.UTC().Format(time.RFC3339)
	if wish.DryRun {
		what += ", as a dry run"
	}
	a.decide(what, func(ctx context.Context, name string) (any, error) {
		return a.Subscriptions.Reset(ctx, name, *wish.To, wish.DryRun)
	})(w, r)
}

// decide answers a POST by which an operator decides of a subscription.
func (a *api) decide(what string, do func(ctx context.Context, name string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		now, err := do(r.Context(), name)
		if err != nil {
			a.log.Warn("subscription was not changed", "subscription", name, "wanted", what, "error", err)
			writeProblem(w, undecided(err))
			return
		}
		a.log.Info("an operator has decided of a subscription", "subscription", name, "decided", what, "remote", r.RemoteAddr)
		writeJSON(w, http.StatusOK, now)
	}
}

// undecided is the problem of a decision that was not recorded, or may not be.
func undecided(err error) *problem.Problem {
	refused, ok := errors.AsType[*problem.Problem](err)
	switch {
	case ok:
		return refused
	case errors.Is(err, kv.ErrUnknown):
		return problem.New(problem.Internal, "it may be recorded or not; the sidecar's log says why. Ask GET /v1/subscriptions")
	case errors.Is(err, kv.ErrClosed):
		return problem.New(problem.Draining, "the spool is closing")
	case errors.Is(err, kv.ErrFenced):
		return problem.New(problem.SpoolReadOnly, "nothing was recorded: a sync failed, and the sidecar is about to restart")
	}
	return problem.New(problem.Internal, "the sidecar's log says why; ask GET /v1/subscriptions how it is")
}
