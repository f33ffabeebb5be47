package admin

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/internal/wire"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// exceptionsJSON is a part of the numbers of a topic that a verifier subtracts.
// Since is the time from which on all endings are kept.
type exceptionsJSON struct {
	Topic   string          `json:"topic"`
	Origins []originJSON    `json:"origins"` // the newest last
	Since   wire.Time       `json:"since"`
	Items   []exceptionJSON `json:"items"`
	Next    string          `json:"next_cursor,omitempty"`
}

// originJSON is a spool ID, and the last number that was given under it.
type originJSON struct {
	Origin string `json:"origin"`
	Last   uint64 `json:"last_topic_sequence"`
}

// exceptionJSON has no topic sequence when that was lost with its message.
type exceptionJSON struct {
	Origin   string        `json:"origin"`
	TopicSeq uint64        `json:"topic_sequence,omitempty"`
	ID       message.ID    `json:"id"`
	State    message.State `json:"state"`
	At       wire.Time     `json:"at"`
}

// exceptions answers GET /v1/ledger/{topic}/exceptions.
func (a *api) exceptions(w http.ResponseWriter, r *http.Request) {
	cursor, limit, p := paging(r.URL.Query())
	if p != nil {
		writeProblem(w, p)
		return
	}
	s, ok := a.open(w)
	if !ok {
		return
	}
	topic := r.PathValue("topic")
	page, err := s.Exceptions(r.Context(), topic, cursor, limit)
	if errors.Is(err, spool.ErrNotFound) {
		p := problem.New(problem.NotFound, "no message of the topic %.130q was ever accepted", topic)
		p.Hint, p.Stored = "GET /v1/ledger names the topics.", problem.StoredNo
		writeProblem(w, p)
		return
	}
	if err != nil {
		a.refuse(w, err, message.Receipt{})
		return
	}
	writeJSON(w, http.StatusOK, exceptionsOf(topic, page))
}

func exceptionsOf(topic string, page spool.Exceptions) exceptionsJSON {
	out := exceptionsJSON{
		Topic: topic, Since: wire.Time(page.Since), Next: page.Next,
		Origins: make([]originJSON, 0, len(page.Origins)), Items: make([]exceptionJSON, 0, len(page.Items)),
	}
	for _, o := range page.Origins {
		out.Origins = append(out.Origins, originJSON{o.ID.String(), o.Last})
	}
	for _, e := range page.Items {
		out.Items = append(out.Items, exceptionJSON{e.Origin.String(), e.TopicSeq, e.ID, e.State, wire.Time(e.At)})
	}
	return out
}

// paging reads the place in a list and the most items of one answer.
func paging(values url.Values) (cursor string, limit int, p *problem.Problem) {
	limit = 100
	for name := range values {
		if name != "cursor" && name != "limit" {
			return "", 0, problem.New(problem.InvalidOption, "%.40q is not known here; there are cursor and limit", name)
		}
	}
	if text := values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return "", 0, problem.New(problem.InvalidOption, "limit is %.40q; it is a number from 1 to 1000", text)
		}
		limit = n
	}
	return values.Get("cursor"), limit, nil
}
