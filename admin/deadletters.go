package admin

import (
	"net/http"
	"net/url"

	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/internal/wire"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// routeDeadLetters serves what an operator does with many dead letters.
func (a *api) routeDeadLetters(mux *routes) {
	mux.HandleFunc("GET /v1/dead-letters", a.deadLetters)
	mux.HandleFunc("POST /v1/dead-letters/redrive", a.changeDeadLetters(kindRedrive))
	mux.HandleFunc("POST /v1/dead-letters/discard", a.changeDeadLetters(kindDiscard))
}

// causeJSON is one group of GET /v1/dead-letters?group_by=cause.
type causeJSON struct {
	Cause      string     `json:"cause"`
	Messages   int        `json:"messages"`
	Bytes      int64      `json:"bytes"`
	Topics     []string   `json:"topics"`
	MoreTopics int        `json:"more_topics,omitempty"`
	Oldest     wire.Time  `json:"oldest_accepted_at"`
	Error      string     `json:"last_error,omitempty"` // of the example
	Example    message.ID `json:"example"`
}

type causesJSON struct {
	Items      []causeJSON `json:"items"`
	Unreadable int         `json:"unreadable,omitempty"`
}

// deadLetters answers GET /v1/dead-letters.
func (a *api) deadLetters(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	if values.Has("state") {
		writeProblem(w, problem.New(problem.InvalidOption, "state is no filter here: all of them are dead"))
		return
	}
	groupBy, grouped := values.Get("group_by"), values.Has("group_by")
	values.Del("group_by")
	values.Set("state", message.StateDead.String())
	switch {
	case !grouped:
		a.listOf(w, r, values)
	case groupBy != "cause":
		writeProblem(w, problem.New(problem.InvalidOption, "group_by is %.40q; there is cause", groupBy))
	case values.Has("cursor") || values.Has("limit"):
		writeProblem(w, problem.New(problem.InvalidOption, "groups have no pages: leave cursor and limit out"))
	default:
		a.causes(w, r, values)
	}
}

func (a *api) causes(w http.ResponseWriter, r *http.Request, values url.Values) {
	q, p := a.query(values)
	if p != nil {
		writeProblem(w, p)
		return
	}
	s, ok := a.open(w)
	if !ok {
		return
	}
	all, unreadable, err := deadletter.Causes(r.Context(), s, deadletter.Filter{Query: q})
	if err != nil {
		a.refuse(w, err, message.Receipt{})
		return
	}
	answer := causesJSON{Items: make([]causeJSON, 0, len(all)), Unreadable: unreadable}
	for _, c := range all {
		answer.Items = append(answer.Items, causeJSON{
			Cause: c.Cause, Messages: c.Messages, Bytes: c.Bytes, Topics: c.Topics, MoreTopics: c.More,
			Oldest: wire.Time(c.Oldest), Error: c.Error, Example: c.Example,
		})
	}
	writeJSON(w, http.StatusOK, answer)
}

// deadLetterRequest redrives or discards.
type deadLetterRequest struct {
	Filter struct {
		Topic     string       `json:"topic"`
		Key       string       `json:"key"`
		Tag       string       `json:"tag"`
		Error     string       `json:"error"`
		Cause     string       `json:"cause"`
		OlderThan string       `json:"older_than"` // an age, as 15m
		IDs       []message.ID `json:"ids"`
		All       bool         `json:"all"`
	} `json:"filter"`
	Rate   int  `json:"rate"` // messages a second; 0: the default
	DryRun bool `json:"dry_run"`
}

const maxRate = 100_000

// changeDeadLetters answers POST /v1/dead-letters/redrive and /discard.
func (a *api) changeDeadLetters(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, p := readDeadLetterRequest(r)
		var filter deadletter.Filter
		if p == nil {
			filter, p = a.deadLetterFilter(&req)
		}
		if p != nil {
			writeProblem(w, p)
			return
		}
		s, ok := a.open(w)
		switch {
		case !ok:
		case req.DryRun:
			a.countDeadLetters(w, r, s, filter)
		default:
			a.beginOn(w, s, kind, deadletter.Options{ //nolint:contextcheck // it outlives the request
				Filter: filter, Discard: kind == kindDiscard, Rate: req.Rate, Forwards: a.Forwards,
			})
		}
	}
}

func (a *api) countDeadLetters(w http.ResponseWriter, r *http.Request, s Spool, f deadletter.Filter) {
	count, err := deadletter.Counted(r.Context(), s, f)
	if err != nil {
		a.refuse(w, err, message.Receipt{})
		return
	}
	writeJSON(w, http.StatusOK, struct {
		deadletter.Count

		DryRun bool `json:"dry_run"`
	}{count, true})
}

func (a *api) beginOn(w http.ResponseWriter, s Spool, kind string, opts deadletter.Options) {
	q := &opts.Filter.Query
	a.begin(w, kind, opts.Rate, opts.Discard, deadletter.New(s, opts), "topic", q.Topic, "cause", q.Cause, "ids", len(opts.Filter.IDs))
}

// begin begins an operation on dead letters; chosen says to the log which.
func (a *api) begin(w http.ResponseWriter, kind string, rate int, discard bool, r letters, chosen ...any) {
	if rate == 0 && !discard {
		rate = deadletter.DefaultRate // as the run has it
	}
	op, p := a.operations.begin(kind, rate, r)
	if p != nil {
		writeProblem(w, p)
		return
	}
	a.log.With(chosen...).Info("an operator began an operation on dead letters", "operation", op.id, "kind", kind, "rate", rate)
	writeBegun(w, op)
}

// rateProblem is nil for a rate that an operation may have; 0: the default.
func rateProblem(rate int) *problem.Problem {
	if rate < 0 || rate > maxRate {
		return problem.New(problem.InvalidOption, "rate is %d; it is messages a second, from 1 to %d", rate, maxRate)
	}
	return nil
}

// given are the fields of a filter that were.
func given(fields map[string]string) url.Values {
	values := url.Values{}
	for name, value := range fields {
		if value != "" {
			values.Set(name, value)
		}
	}
	return values
}

// readDeadLetterRequest wants one JSON object.
func readDeadLetterRequest(r *http.Request) (req deadLetterRequest, p *problem.Problem) {
	const form = `{"filter": {"topic", "cause", "error", "key", "tag", "older_than"} or {"ids"} or {"all": true}, "rate", "dry_run"}`
	if p := readObject(r, &req, form); p != nil {
		return req, p
	}
	return req, rateProblem(req.Rate)
}

// deadLetterFilter wants one that chooses: all are asked for by saying so.
func (a *api) deadLetterFilter(req *deadLetterRequest) (out deadletter.Filter, p *problem.Problem) {
	f := &req.Filter
	values := given(map[string]string{
		"topic": f.Topic, "key": f.Key, "tag": f.Tag, "error": f.Error, "cause": f.Cause, "older_than": f.OlderThan,
	})
	if p := oneWay(len(values), len(f.IDs), f.All); p != nil {
		return out, p
	}
	q, p := a.query(values)
	return deadletter.Filter{Query: q, IDs: f.IDs}, p
}

var _ deadletter.Spool = (*spool.Spool)(nil)
