package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// acknowledge answers POST /v1/damage/acknowledge: from the answer on the ledger
// may balance again, durably.
func (a *api) acknowledge(do func(context.Context) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		known, err := do(r.Context())
		switch {
		case err == nil:
			a.log.Info("damage was acknowledged", "remote", r.RemoteAddr)
			writeJSON(w, http.StatusOK, known)
		case errors.Is(err, spool.ErrClosed):
			writeProblem(w, problem.New(problem.Draining, "the spool is closing, or not open yet"))
		default:
			a.log.Error("acknowledge damage", "error", err.Error())
			writeProblem(w, problem.New(problem.Internal, "it may not be recorded; the sidecar's log says why. Ask GET /v1/ledger"))
		}
	}
}
