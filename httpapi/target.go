package httpapi

import (
	"net/url"
	"strings"
)

// target is what the target of a request says.
type target struct {
	text      string
	authority string // "": it names no host
	query     url.Values
	route     *route // nil: there is nothing at its path
	arg       string // the variable segment of its path
}

// mostTarget bounds the target that a connection keeps, in bytes.
const mostTarget = 256

// targetOf reads a target. Most clients ask for the same path again and again, so the
// connection keeps the last one, unless it has a query, is long, or names a transaction,
// of which each is decided once.
func (c *conn) targetOf(raw []byte) (target, error) {
	if string(raw) == c.last.text {
		return c.last, nil
	}
	t, err := parseTarget(string(raw))
	once := t.arg != "" && t.route.transactions
	if err == nil && t.query == nil && !once && len(raw) <= mostTarget {
		c.last = t
	}
	return t, err
}

// parseTarget reads a target in origin form, or in absolute form.
func parseTarget(text string) (t target, err error) {
	t.text = text
	rest := text
	if after, ok := strings.CutPrefix(rest, "http://"); ok {
		end := strings.IndexAny(after, "/?")
		if end < 0 {
			end = len(after)
		}
		t.authority, rest = after[:end], after[end:]
	}
	path, query, _ := strings.Cut(rest, "?")
	if strings.Contains(rest, "#") {
		return t, malformed("the request target has a fragment")
	}
	if query != "" {
		if t.query, err = url.ParseQuery(query); err != nil {
			return t, invalidOption("the query string is not percent-encoded correctly: %s", reason(err))
		}
	}
	var room [4]string
	segments, err := splitPath(room[:0], path)
	if err != nil {
		return t, err
	}
	t.route, t.arg = findRoute(segments)
	return t, nil
}

// reason leaves out of an error of net/url what it repeats of the request.
func reason(err error) string {
	text, _, _ := strings.Cut(err.Error(), " \"")
	return text
}

// splitPath appends the segments of path, decoded.
func splitPath(segments []string, path string) ([]string, error) {
	for s := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return nil, malformed("the path is not percent-encoded correctly")
		}
		segments = append(segments, decoded)
	}
	return segments, nil
}
