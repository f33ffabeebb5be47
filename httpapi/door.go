package httpapi

import (
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/remora-mq/remora/internal/httpguard"
	"github.com/remora-mq/remora/spool"
)

// request is what the rest of the package sees of a request: copies, nothing
// of fasthttp. It is its connection's until its answer is written.
type request struct {
	method   string
	segments []string // of the path, each percent-decoded
	query    url.Values
	fields   fields
	body     body
	began    time.Time

	asked publication // of a publish
	kept  bool        // the spool may still read drafts

	// Room of most requests, so that they need no memory of their own.
	segmentRoom [4]string
	fieldRoom   [12]field
	drafts      [1]spool.Draft
	answer      []byte
}

// requests are those that no connection has. An idle connection has none.
var requests = sync.Pool{New: func() any { return &request{answer: make([]byte, 0, mostAnswers)} }}

// mostAnswers is what most answers to a publish fit into.
const mostAnswers = 512

// newRequest gives the connection an empty request.
func (c *conn) newRequest() *request {
	if c.request == nil {
		c.request, _ = requests.Get().(*request) // New makes no other
	} else { // it has offered its body, and sends it now
		*c.request = request{answer: c.request.answer}
	}
	return c.request
}

// dropRequest is called when the answer is written, or will not be.
func (c *conn) dropRequest() {
	r := c.request
	c.request = nil
	if r == nil || r.kept || cap(r.answer) > mostAnswers {
		return
	}
	*r = request{answer: r.answer[:0]}
	requests.Put(r)
}

// receive copies a request out of fasthttp's buffers and lets it pass, or says
// why not. The body is not read yet.
func (s *Server) receive(ctx *fasthttp.RequestCtx, c *conn) (*request, error) {
	h, r := &ctx.Request.Header, c.request
	http10 := string(h.Protocol()) == "HTTP/1.0"
	if !http10 && string(h.Protocol()) != "HTTP/1.1" {
		return nil, malformed("%s is not spoken here; use HTTP/1.1", h.Protocol())
	}
	r.fields.all = r.fieldRoom[:0]
	if err := r.fields.parse(h.RawHeaders(), http10); err != nil {
		return nil, err
	}
	authority, path, query, err := parseTarget(string(h.RequestURI()))
	if err != nil {
		return nil, err
	}
	r.method, r.query = string(h.Method()), query
	if r.segments, err = splitPath(r.segmentRoom[:0], path); err != nil {
		return nil, err
	}
	if _, isUnix := c.LocalAddr().(*net.UnixAddr); !isUnix {
		err = s.checkBrowser(r, authority)
	}
	return r, err
}

// checkBrowser keeps web pages out. A request target that names a host is held
// to the same rule as the Host header, whichever a reader prefers.
func (s *Server) checkBrowser(r *request, authority string) error {
	req := httpguard.Request{
		Method: r.method, Host: r.fields.get(nameHost),
		Origin: r.fields.get(nameOrigin), SecFetchSite: r.fields.get(nameSecFetchSite),
	}
	if p := s.rules.Check(req); p != nil {
		return p
	}
	if authority == "" {
		return nil
	}
	req.Host = authority
	if p := s.rules.Check(req); p != nil {
		return p
	}
	return nil
}

// parseTarget splits a request target in origin form, or in absolute form.
func parseTarget(target string) (authority, path string, query url.Values, err error) {
	if rest, ok := strings.CutPrefix(target, "http://"); ok {
		end := strings.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		authority, target = rest[:end], rest[end:]
	}
	path, raw, _ := strings.Cut(target, "?")
	if strings.Contains(target, "#") {
		return "", "", nil, malformed("the request target has a fragment")
	}
	if raw == "" {
		return authority, path, nil, nil
	}
	if query, err = url.ParseQuery(raw); err != nil {
		return "", "", nil, invalidOption("the query string is not percent-encoded correctly: %s", reason(err))
	}
	return authority, path, query, nil
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
