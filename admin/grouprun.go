package admin

import (
	"net/http"

	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/internal/problem"
)

// groupLetterRequest redrives or discards dead letters of a group.
type groupLetterRequest struct {
	Filter struct {
		Topic     string   `json:"topic"`
		Key       string   `json:"key"`
		Tag       string   `json:"tag"`
		Cause     string   `json:"cause"`
		OlderThan string   `json:"older_than"` // an age, as 15m
		IDs       []string `json:"ids"`
		All       bool     `json:"all"`
	} `json:"filter"`
	Rate   int  `json:"rate"` // messages a second; 0: the default
	DryRun bool `json:"dry_run"`
}

// changeGroupLetters answers POST /v1/groups/{group}/dead-letters/redrive and
// /discard.
func (a *api) changeGroupLetters(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, p := readGroupLetterRequest(r)
		var filter deadletter.GroupFilter
		if p == nil {
			filter, p = a.groupFilter(&req)
		}
		if p != nil {
			writeProblem(w, p)
			return
		}
		g, ok := a.group(w, r)
		switch {
		case !ok:
		case req.DryRun:
			a.countGroupLetters(w, r, g, filter)
		default:
			a.beginOnGroup(w, g, kind, deadletter.GroupOptions{Filter: filter, Discard: kind == kindDiscard, Rate: req.Rate}) //nolint:contextcheck // it outlives the request
		}
	}
}

func (a *api) countGroupLetters(w http.ResponseWriter, r *http.Request, g *deadletter.Group, f deadletter.GroupFilter) {
	count, err := g.Count(r.Context(), f)
	if err != nil {
		a.refuseGroup(w, g, err)
		return
	}
	writeJSON(w, http.StatusOK, struct {
		deadletter.Count

		DryRun bool `json:"dry_run"`
	}{count, true})
}

func (a *api) beginOnGroup(w http.ResponseWriter, g *deadletter.Group, kind string, opts deadletter.GroupOptions) {
	f := &opts.Filter
	a.begin(w, kind, opts.Rate, opts.Discard, g.NewRun(opts), "group", g.Name(), "topic", f.Topic, "cause", f.Cause, "ids", len(f.IDs))
}

func readGroupLetterRequest(r *http.Request) (req groupLetterRequest, p *problem.Problem) {
	const form = `{"filter": {"topic", "cause", "key", "tag", "older_than"} or {"ids"} or {"all": true}, "rate", "dry_run"}`
	if p := readObject(r, &req, form); p != nil {
		return req, p
	}
	return req, rateProblem(req.Rate)
}

// groupFilter wants one that chooses: all are asked for by saying so.
func (a *api) groupFilter(req *groupLetterRequest) (out deadletter.GroupFilter, p *problem.Problem) {
	f := &req.Filter
	values := given(map[string]string{
		"topic": f.Topic, "key": f.Key, "tag": f.Tag, "cause": f.Cause, "older_than": f.OlderThan,
	})
	if p := oneWay(len(values), len(f.IDs), f.All); p != nil {
		return out, p
	}
	out, _, _, p = a.groupQuery(values)
	out.IDs = f.IDs
	return out, p
}

// oneWay wants dead letters to be chosen in one way, and that one to be said.
func oneWay(fields, ids int, all bool) *problem.Problem {
	ways := 0
	for _, used := range []bool{fields > 0, ids > 0, all} {
		if used {
			ways++
		}
	}
	switch {
	case ways == 0:
		return problem.New(problem.InvalidOption, `the filter chooses nothing; give a topic, cause, error, key, tag, older_than or ids, or say "all": true`)
	case ways > 1:
		return problem.New(problem.InvalidOption, `"ids" and "all" stand alone in a filter`)
	case ids > maxResendIDs:
		return problem.New(problem.InvalidOption, "there are %d ids; name at most %d at a time", ids, maxResendIDs)
	}
	return nil
}
