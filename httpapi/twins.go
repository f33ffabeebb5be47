package httpapi

import (
	"strings"

	"github.com/remora-mq/remora/internal/problem"
)

// twin is one option of a publish: its header as documented, and the query
// parameter that means the same.
type twin struct{ name, param string }

// twins are the options by header. MQ-Property is apart: its query parameters carry
// the property's name.
var twins = map[name]twin{
	nameKey:         {"Idempotency-Key", "idempotency_key"},
	nameTag:         {"MQ-Tag", "tag"},
	nameKeys:        {"MQ-Key", "key"},
	nameOrderingKey: {"MQ-Ordering-Key", "ordering_key"},
	nameDelay:       {"MQ-Delay", "delay"},
	nameDeliverAt:   {"MQ-Deliver-At", "deliver_at"},
	nameTTL:         {"MQ-TTL", "ttl"},
	namePrefer:      {"Prefer: wait", "wait"},
}

var twinParams = func() map[string]bool {
	params := map[string]bool{}
	for _, t := range twins {
		params[t.param] = true
	}
	return params
}()

const propertyParam = "prop."

// knownOptions refuses an option that would otherwise be ignored: a misspelt
// MQ- header, an unknown query parameter.
func knownOptions(r *request) error {
	if i := r.fields.index(nameMisspelt); i >= 0 {
		return invalidOption("the header %.100q is not an option of a publish", r.fields.name(i))
	}
	for name := range r.query {
		if !twinParams[name] && !strings.HasPrefix(name, propertyParam) {
			return invalidOption("the query parameter %.100q is not an option of a publish", name)
		}
	}
	return nil
}

// noOptions refuses the options of a single publish where each message of the
// body has its own.
func noOptions(r *request) error {
	if err := noneOf(r, ofOneMessage, "a batch; put it into the items"); err != nil {
		return err
	}
	for name := range r.query {
		return invalidOption("the query parameter %.100q says nothing about a batch; put it into the items", name)
	}
	return nil
}

// noneOf refuses headers that say something about one message, where each has its own
// options in JSON.
func noneOf(r *request, these name, of string) error {
	if i := r.fields.index(these); i >= 0 {
		return invalidOption("the header %.100q says nothing about %s", r.fields.name(i), of)
	}
	return nil
}

// option returns the value of a header or its query twin, "" when neither is
// given. Given more than once, all have to agree; given empty is a slip.
func (r *request) option(header name) (string, error) {
	values := append(r.fields.values(nil, header), r.query[twins[header].param]...)
	for _, v := range values {
		if v != values[0] {
			return "", disagree(header)
		}
	}
	if len(values) == 0 {
		return "", nil
	}
	if strings.TrimSpace(values[0]) == "" {
		return "", empty(header)
	}
	return values[0], nil
}

func empty(header name) error {
	t := twins[header]
	return invalidOption("%s (query parameter %q) is given and has no value; leave it out, or give it one", t.name, t.param)
}

func disagree(header name) error {
	t := twins[header]
	return invalidOption("%s (query parameter %q) is given more than once, with different values", t.name, t.param)
}

func invalidOption(format string, args ...any) error {
	return problem.New(problem.InvalidOption, format, args...)
}
