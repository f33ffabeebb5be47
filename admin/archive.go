package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// stalled is how long an export or an import may stand still: as a whole it takes
// as long as it has to.
const stalled = time.Minute

// export answers GET /v1/export: what a query asks for, bodies and all, as lines
// of JSON. Without its trailer the file is not whole.
func (a *api) export(w http.ResponseWriter, r *http.Request) {
	q, p := a.query(r.URL.Query())
	if p == nil && slices.ContainsFunc(q.States, message.State.Settled) {
		p = problem.New(problem.InvalidOption, "an export has what is held, and nothing that is settled")
	}
	if p == nil {
		p = a.tokens.Check(r.Header.Get("Authorization"))
	}
	s, p := a.opened(p)
	if p != nil {
		writeProblem(w, p)
		return
	}
	describe(w, "application/x-ndjson")
	done, err := s.Export(r.Context(), patient{w, http.NewResponseController(w)}, q)
	if err != nil { // it has begun: all that can be done is to leave it without its end
		a.log.Error("an export ended early", "messages", done.Messages, "error", err.Error())
		panic(http.ErrAbortHandler)
	}
	a.log.Info("an operator exported messages", "messages", done.Messages, "idempotency_keys", done.Keys, "unreadable", done.Unreadable)
}

// opened returns the spool, unless there is a problem, or it is not open.
func (a *api) opened(p *problem.Problem) (Archive, *problem.Problem) {
	s := a.Archive()
	if p == nil && s == nil {
		p = notOpen()
	}
	return s, p
}

// patient allows each write its own time.
type patient struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(stalled)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.w.Write(b)
}

// imports answers POST /v1/import, with ?partial=true also for a damaged file.
func (a *api) imports(w http.ResponseWriter, r *http.Request) {
	partial, p := onlyFlag(r.URL.Query(), "partial")
	s, p := a.opened(p)
	if p != nil {
		writeProblem(w, p)
		return
	}
	control := http.NewResponseController(w)
	done, err := s.Import(r.Context(), patientReader{r, control}, partial)
	a.log.Info("an operator imported messages", "messages", done.Messages, "known", done.Known, "idempotency_keys", done.Keys, "key_conflicts", done.Conflicts, "refused", done.Refused, "transactions", done.Transactions, "decided_transactions", done.Decided)
	if err == nil {
		writeJSON(w, http.StatusOK, done)
		return
	}
	p = a.problemOf(fmt.Errorf("%w; %d messages are imported, %d were known: do it again to go on", err, done.Messages, done.Known), message.Receipt{})
	if line, is := errors.AsType[*spool.LineError](err); is && !partial && line.Line != 1 { // without its header nothing of a file can be read
		p.Hint = "With ?partial=true, or --partial, the other lines are taken in."
	}
	writeProblem(w, p)
}

type patientReader struct {
	r       *http.Request
	control *http.ResponseController
}

func (p patientReader) Read(b []byte) (int, error) {
	if err := p.control.SetReadDeadline(time.Now().Add(stalled)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.r.Body.Read(b)
}
