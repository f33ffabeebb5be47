package httpapi

import (
	"strings"

	"github.com/remora-mq/remora/internal/problem"
)

// twin is one option of a publish: its header as documented, and the query
// parameter that means the same.
type twin struct{ name, param string }

// twins are the options by header, in lower case. MQ-Property is apart: its
// query parameters carry the property's name.
var twins = map[string]twin{
	"idempotency-key": {"Idempotency-Key", "idempotency_key"},
	"mq-tag":          {"MQ-Tag", "tag"},
	"mq-key":          {"MQ-Key", "key"},
	"mq-ordering-key": {"MQ-Ordering-Key", "ordering_key"},
	"mq-delay":        {"MQ-Delay", "delay"},
	"mq-deliver-at":   {"MQ-Deliver-At", "deliver_at"},
	"mq-ttl":          {"MQ-TTL", "ttl"},
	"prefer":          {"Prefer: wait", "wait"},
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
	for _, h := range r.fields {
		if !strings.HasPrefix(h.name, "mq-") || h.name == "mq-property" {
			continue
		}
		if _, known := twins[h.name]; !known {
			return invalidOption("the header %.100q is not an option of a publish", h.name)
		}
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
	for _, h := range r.fields {
		if strings.HasPrefix(h.name, "mq-") || h.name == "idempotency-key" {
			return invalidOption("the header %.100q says nothing about a batch; put it into the items", h.name)
		}
	}
	for name := range r.query {
		return invalidOption("the query parameter %.100q says nothing about a batch; put it into the items", name)
	}
	return nil
}

// option returns the value of a header or its query twin, "" when neither is
// given. Given more than once, all have to agree; given empty is a slip.
func (r *request) option(header string) (string, error) {
	if len(r.query) == 0 && !r.fields.has(header) { // most have none
		return "", nil
	}
	values := append(r.fields.all(header), r.query[twins[header].param]...)
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

func empty(header string) error {
	t := twins[header]
	return invalidOption("%s (query parameter %q) is given and has no value; leave it out, or give it one", t.name, t.param)
}

func disagree(header string) error {
	t := twins[header]
	return invalidOption("%s (query parameter %q) is given more than once, with different values", t.name, t.param)
}

func invalidOption(format string, args ...any) error {
	return problem.New(problem.InvalidOption, format, args...)
}
