package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/remora-mq/remora/internal/problem"
)

// Subscriptions is what is known of subscriptions, and done with them. What is
// returned is as JSON will show it; an error may be a *problem.Problem.
type Subscriptions struct {
	List func() any // a list
	// Pause and Resume return the subscription as it then is, when that is on
	// stable storage.
	Pause, Resume func(ctx context.Context, name string) (any, error)
	// Retry has the handler called for what no broker takes back, and returns the
	// subscription as it is.
	Retry func(ctx context.Context, name string) (any, error)
	// Reset moves the group of a subscription to a time, and returns where it was and
	// is then; a dry run, what that would be.
	Reset func(ctx context.Context, name string, to time.Time, dryRun bool) (any, error)
}

func (a *api) routeSubscriptions(mux *routes) {
	mux.HandleFunc("GET /v1/subscriptions", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"items": a.Subscriptions.List()})
	})
	mux.HandleFunc("POST /v1/subscriptions/{name}/pause", a.decide(aSubscription, "pause", a.Subscriptions.Pause))
	mux.HandleFunc("POST /v1/subscriptions/{name}/resume", a.decide(aSubscription, "resume", a.Subscriptions.Resume))
	mux.HandleFunc("POST /v1/subscriptions/{name}/retry", a.decide(aSubscription, "retry", a.Subscriptions.Retry))
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
	a.decide(aSubscription, what, func(ctx context.Context, name string) (any, error) {
		return a.Subscriptions.Reset(ctx, name, *wish.To, wish.DryRun)
	})(w, r)
}
