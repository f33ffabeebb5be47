package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Spool is what the admin listener needs of *spool.Spool.
type Spool interface {
	Hold(ctx context.Context, id message.ID) (message.Receipt, error)
	ReleaseHeld(ctx context.Context, id message.ID) (message.Receipt, error)
	RetryNow(ctx context.Context, id message.ID) (message.Receipt, error)
	Cancel(ctx context.Context, id message.ID) (message.Receipt, error)

	deadletter.Spool
	Ended
	Transactions
}

// Ended is what is asked about messages that have ended.
type Ended interface {
	Resend(ctx context.Context, f spool.ResendFilter, dry bool) (spool.Resent, error)
	Exceptions(ctx context.Context, topic, cursor string, limit int) (spool.Exceptions, error)
}

// Archive is what the admin listener needs of a *spool.Spool that is moved.
type Archive interface {
	Export(ctx context.Context, w io.Writer, q spool.Query) (spool.Exported, error)
	Import(ctx context.Context, r io.Reader, partial bool) (spool.Imported, error)
}

// routeMessages serves what an operator does with single messages.
func (a *api) routeMessages(mux *routes) {
	mux.HandleFunc("GET /v1/messages", a.list)
	mux.HandleFunc("GET /v1/export", a.export)
	mux.HandleFunc("POST /v1/import", a.imports)
	mux.HandleFunc("GET /v1/messages/{id}", a.show)
	mux.HandleFunc("POST /v1/messages/resend", a.resend)
	mux.HandleFunc("DELETE /v1/messages/{id}", a.change(Spool.Cancel))
	mux.HandleFunc("POST /v1/messages/{id}/retry", a.change(Spool.RetryNow))
	mux.HandleFunc("POST /v1/messages/{id}/hold", a.change(Spool.Hold))
	mux.HandleFunc("POST /v1/messages/{id}/release", a.change(Spool.ReleaseHeld))
}

// open returns the spool, or answers that there is none yet.
func (a *api) open(w http.ResponseWriter) (Spool, bool) {
	if s := a.Spool(); s != nil {
		return s, true
	}
	writeProblem(w, notOpen())
	return nil, false
}

func notOpen() *problem.Problem { return problem.New(problem.Starting, "the spool is not open yet") }

// list answers GET /v1/messages.
func (a *api) list(w http.ResponseWriter, r *http.Request) {
	a.listOf(w, r, r.URL.Query())
}

func (a *api) listOf(w http.ResponseWriter, r *http.Request, values url.Values) {
	q, p := a.query(values)
	if p != nil {
		writeProblem(w, p)
		return
	}
	s, ok := a.open(w)
	if !ok {
		return
	}
	page, err := s.List(r.Context(), q)
	if err != nil {
		a.refuse(w, err, message.Receipt{})
		return
	}
	answer := pageJSON{Items: make([]itemJSON, 0, len(page.Items)), Next: page.Next, Unreadable: page.Unreadable}
	for i := range page.Items {
		answer.Items = append(answer.Items, itemOf(&page.Items[i]))
	}
	writeJSON(w, http.StatusOK, answer)
}

// bodyWanted reads ?body=true, the only field, which a token allows.
func (a *api) bodyWanted(r *http.Request) (bool, *problem.Problem) {
	wanted, p := onlyFlag(r.URL.Query(), "body")
	if p == nil && wanted {
		p = a.tokens.Check(r.Header.Get("Authorization"))
	}
	return wanted, p
}

// show answers GET /v1/messages/{id}: with ?body=true with its body, which is
// for those who may change things.
func (a *api) show(w http.ResponseWriter, r *http.Request) {
	withBody, p := a.bodyWanted(r)
	if p != nil {
		writeProblem(w, p)
		return
	}
	id, s, ok := a.about(w, r)
	if !ok {
		return
	}
	item, err := s.Find(r.Context(), id)
	if err != nil {
		a.refuse(w, err, item.Receipt)
		return
	}
	writeJSON(w, http.StatusOK, storyOf(&item, withBody))
}

// change answers a call that changes one message with what it then is.
func (a *api) change(do func(Spool, context.Context, message.ID) (message.Receipt, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, s, ok := a.about(w, r)
		if !ok {
			return
		}
		receipt, err := do(s, r.Context(), id)
		if err != nil {
			a.refuse(w, err, receipt)
			return
		}
		a.log.Info("an operator changed a message", "request", r.Method+" "+r.URL.Path, "id", id, "state", receipt.State, "held", receipt.OnHold)
		writeJSON(w, http.StatusOK, storyOf(&spool.Item{Receipt: receipt}, false))
	}
}

// about reads the ID of the path.
func (a *api) about(w http.ResponseWriter, r *http.Request) (id message.ID, s Spool, ok bool) {
	id, err := message.ParseID(r.PathValue("id"))
	if err != nil {
		p := problem.New(problem.NotFound, "%.64q is no message ID: %s", r.PathValue("id"), err)
		p.Stored = problem.StoredNo
		writeProblem(w, p)
		return id, nil, false
	}
	s, ok = a.open(w)
	return id, s, ok
}

// spoolProblems maps errors of the spool to problems.
var spoolProblems = []struct {
	err  error
	code string
}{
	{spool.ErrCursor, problem.InvalidOption},
	{spool.ErrExport, problem.InvalidBatch},
	{spool.ErrFull, problem.SpoolFull},
	{spool.ErrDiskLow, problem.DiskLow},
	{spool.ErrTopicFull, problem.TopicFull},
	{spool.ErrTooManyTopics, problem.TooManyTopics},
	{spool.ErrWrongState, problem.WrongState},
	{spool.ErrAlreadySent, problem.AlreadySent},
	{spool.ErrMaybeSent, problem.MaybeSent},
	{spool.ErrUnknown, problem.SpoolReadOnly},
	{spool.ErrReadOnly, problem.SpoolReadOnly},
	{spool.ErrClosed, problem.Draining},
	{context.Canceled, problem.Draining},
	{context.DeadlineExceeded, problem.Busy},
}

// refuse answers an error of the spool about a message, of which r is what is
// known of it.
func (a *api) refuse(w http.ResponseWriter, err error, r message.Receipt) {
	writeProblem(w, a.problemOf(err, r))
}

func (a *api) problemOf(err error, r message.Receipt) *problem.Problem {
	if errors.Is(err, spool.ErrNotFound) {
		return problem.New(problem.NotFound, "no such message is held, and no receipt of it is kept")
	}
	if errors.Is(err, spool.ErrAlreadySent) {
		err = fmt.Errorf("%w: it is %s", err, r.State)
	}
	for _, known := range spoolProblems {
		if errors.Is(err, known.err) {
			p := problem.New(known.code, "%s", err)
			switch {
			case p.Status == http.StatusServiceUnavailable:
				p.Stored = problem.StoredUnknown
			case r.State.Settled() && r.State != message.StateConfirmed:
				p.Stored = problem.StoredNo
			}
			return p
		}
	}
	a.log.Error("an admin request failed", "error", err.Error())
	return problem.New(problem.Internal, "the spool could not be read; the sidecar's log says why")
}
