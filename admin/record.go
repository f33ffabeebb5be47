package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// record answers a POST by which an operator records that they know of what:
// damage, or a step of the clock. When it is answered it is on stable storage.
// seenAt is where to look when it is not known whether it is.
func (a *api) record(what, seenAt string, do func(context.Context) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		recorded, err := do(r.Context())
		switch {
		case err == nil:
			a.log.Info(what+" was acknowledged", "remote", r.RemoteAddr)
			writeJSON(w, http.StatusOK, recorded)
		case errors.Is(err, spool.ErrClosed):
			writeProblem(w, problem.New(problem.Draining, "the spool is closing, or not open yet"))
		case errors.Is(err, spool.ErrReadOnly) && !errors.Is(err, spool.ErrUnknown):
			writeProblem(w, problem.New(problem.SpoolReadOnly, "nothing was recorded: a sync failed, and the sidecar is about to restart"))
		default:
			a.log.Error("acknowledge "+what, "error", err.Error())
			writeProblem(w, problem.New(problem.Internal, "it may not be recorded; the sidecar's log says why. Ask GET %s", seenAt))
		}
	}
}
