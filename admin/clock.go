package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// confirmClock answers POST /v1/clock/confirm: from the answer on what the time
// ends is ended again, durably.
func (a *api) confirmClock(do func(context.Context) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		confirmed, err := do(r.Context())
		switch {
		case err == nil:
			a.log.Info("the time was confirmed", "remote", r.RemoteAddr)
			writeJSON(w, http.StatusOK, confirmed)
		case errors.Is(err, spool.ErrClosed):
			writeProblem(w, problem.New(problem.Draining, "the spool is closing, or not open yet"))
		default:
			a.log.Error("confirm the time", "error", err.Error())
			writeProblem(w, problem.New(problem.Internal, "it may not be recorded; the sidecar's log says why. Ask GET /v1/status"))
		}
	}
}
