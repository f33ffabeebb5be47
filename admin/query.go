package admin

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/remora-mq/remora/internal/duration"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// onHold is what stands for a state where an operator asks for held messages.
const onHold = "held"

// query reads the filters of a list. A filter that is not known is refused, and one that
// is given twice or empty: one that is left out in silence would list, and then change,
// too much. An empty cursor is that of the first page.
func (a *api) query(values url.Values) (q spool.Query, p *problem.Problem) {
	for name, given := range values {
		if !slices.Contains([]string{"state", "topic", "key", "tag", "error", "cause", "older_than", "origin", "numbers", "cursor", "limit"}, name) {
			return q, problem.New(problem.InvalidOption, "%.40q is no filter; there are state, topic, key, tag, error, cause, older_than, origin with numbers, cursor and limit", name)
		}
		if len(given) > 1 {
			return q, problem.New(problem.InvalidOption, "%s is given %d times; give it once", name, len(given))
		}
		if given[0] == "" && name != "cursor" {
			return q, problem.New(problem.InvalidOption, "%s is given and empty; give it a value, or leave it out", name)
		}
	}
	q = spool.Query{
		Topic: values.Get("topic"), Key: values.Get("key"), Tag: values.Get("tag"), Error: values.Get("error"), Cause: values.Get("cause"), Cursor: values.Get("cursor"),
	}
	if p := readStates(values.Get("state"), &q); p != nil {
		return q, p
	}
	if text := values.Get("older_than"); text != "" {
		age, err := duration.Parse(text)
		if err != nil || age < 0 {
			return q, problem.New(problem.InvalidOption, "older_than is %.40q; write an age as 90s, 15m, 24h or 7d", text)
		}
		q.Before = a.now().Add(-age)
	}
	if q.Numbers, p = readNumbers(values.Get("origin"), values.Get("numbers")); p != nil {
		return q, p
	}
	if text := values.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 || limit > 1000 {
			return q, problem.New(problem.InvalidOption, "limit is %.40q; it is a number from 1 to 1000", text)
		}
		q.Limit = limit
	}
	return q, nil
}

func readStates(text string, q *spool.Query) *problem.Problem {
	for name := range strings.SplitSeq(text, ",") {
		switch state, err := message.ParseState(name); {
		case text == "":
			return nil
		case name == onHold:
			q.OnHold = true
		case err != nil:
			return problem.New(problem.InvalidOption, "%.40q is no state; there are %s, and held", name, allStates())
		default:
			q.States = append(q.States, state)
		}
	}
	return nil
}

func allStates() string {
	var names []string
	for _, s := range message.States() {
		names = append(names, s.String())
	}
	return strings.Join(names, ", ")
}

// onlyFlag reads the one flag that a request may have.
func onlyFlag(values url.Values, name string) (is bool, p *problem.Problem) {
	for other := range values {
		if other != name {
			return false, problem.New(problem.InvalidOption, "%.40q is not known here; there is %s=true", other, name)
		}
	}
	if !values.Has(name) {
		return false, nil
	}
	is, err := strconv.ParseBool(values.Get(name))
	if err != nil {
		return false, problem.New(problem.InvalidOption, "%s is %.40q; it is true or false", name, values.Get(name))
	}
	return is, nil
}
