package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// Transactions is what an operator asks of transactions, and decides.
type Transactions interface {
	Transaction(ctx context.Context, id string) (spool.Transaction, error)
	Transactions(ctx context.Context, states []spool.TransactionState, cursor string, limit int) (spool.TransactionPage, error)
	CommitTransaction(ctx context.Context, id, by string) (spool.Transaction, error)
	RollBackTransaction(ctx context.Context, id, by string) (spool.Transaction, error)
}

func (a *api) routeTransactions(mux *routes) {
	mux.HandleFunc("GET /v1/transactions", a.listTransactions)
	mux.HandleFunc("GET /v1/transactions/{id}", a.showTransaction)
	mux.HandleFunc("POST /v1/transactions/{id}/commit", a.decideTransaction(Spool.CommitTransaction))
	mux.HandleFunc("POST /v1/transactions/{id}/rollback", a.decideTransaction(Spool.RollBackTransaction))
}

// listTransactions answers GET /v1/transactions.
func (a *api) listTransactions(w http.ResponseWriter, r *http.Request) {
	q, err := transaction.ParseQuery(r.URL.Query())
	if err != nil {
		writeProblem(w, problem.New(problem.InvalidOption, "%s", err))
		return
	}
	s, ok := a.open(w)
	if !ok {
		return
	}
	page, err := s.Transactions(r.Context(), q.States, q.Cursor, q.Limit)
	if err != nil {
		a.refuse(w, err, message.Receipt{})
		return
	}
	writeJSON(w, http.StatusOK, transaction.PageOf(page))
}

// showTransaction answers GET /v1/transactions/{id}.
func (a *api) showTransaction(w http.ResponseWriter, r *http.Request) {
	s, ok := a.open(w)
	if !ok {
		return
	}
	t, err := s.Transaction(r.Context(), r.PathValue("id"))
	if err != nil {
		a.refuseTransaction(w, err)
		return
	}
	writeJSON(w, http.StatusOK, transaction.ViewOf(t))
}

// decideTransaction answers a call by which an operator decides a transaction.
func (a *api) decideTransaction(do func(Spool, context.Context, string, string) (spool.Transaction, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, ok := a.open(w)
		if !ok {
			return
		}
		t, err := do(s, r.Context(), r.PathValue("id"), "operator")
		if err != nil {
			a.refuseTransaction(w, err)
			return
		}
		a.log.Info("a transaction was decided", "transaction", t.ID, "state", t.State.String(), "remote", r.RemoteAddr)
		writeJSON(w, http.StatusOK, transaction.ViewOf(t))
	}
}

func (a *api) refuseTransaction(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, spool.ErrNoTransaction):
		writeProblem(w, problem.New(problem.UnknownTransaction, "no transaction of that ID is open, nor kept since it was decided"))
	case errors.Is(err, spool.ErrDecided):
		writeProblem(w, problem.New(problem.TransactionConflict, "%s, which stands", err))
	default:
		a.refuse(w, err, message.Receipt{})
	}
}
