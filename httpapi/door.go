package httpapi

import (
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/remora-mq/remora/internal/httpguard"
	"github.com/remora-mq/remora/spool"
)

// request is what the rest of the package sees of a request: copies, nothing
// of fasthttp. It is its connection's until its answer is written, and nothing but that
// answer from when it is handled.
type request struct {
	method string
	target
	fields fields
	body   body
	began  time.Time

	asked publication // of a publish
	kept  bool        // the spool may still read drafts

	// Room of most requests, so that they need no memory of their own.
	fieldRoom [12]field
	drafts    [1]spool.Draft
	answer    []byte
}

// requests are those that no connection has. An idle connection has none.
var requests = sync.Pool{New: func() any { return &request{answer: make([]byte, 0, mostAnswers)} }}

// mostAnswers is what most answers to a publish fit into, and to a transaction of one
// message.
const mostAnswers = 1 << 10

// newRequest gives the connection an empty request, once for a body that is offered
// and then sent.
func (c *conn) newRequest() *request {
	if c.request == nil {
		c.request, _ = requests.Get().(*request) // New makes no other
	}
	return c.request
}

// handled leaves nothing of the request but its answer, which a client may take long
// to read: from here nobody counts its body. What the spool may still read stays as it
// is, and is not the connection's any more; the answer is then no part of it.
func (c *conn) handled() {
	r := c.request
	r.body.release()
	if r.kept {
		c.request = nil
		return
	}
	*r = request{answer: r.answer}
}

// dropRequest is called when the answer is written, or will not be.
func (c *conn) dropRequest() {
	r := c.request
	c.request = nil
	if r == nil || cap(r.answer) > mostAnswers {
		return
	}
	r.answer = r.answer[:0]
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
	if r.fields.closes() {
		ctx.SetConnectionClose()
	}
	var err error
	if r.target, err = c.targetOf(h.RequestURI()); err != nil {
		return nil, err
	}
	if r.method = post; !h.IsPost() {
		r.method = string(h.Method())
	}
	if _, isUnix := c.LocalAddr().(*net.UnixAddr); !isUnix {
		err = s.checkBrowser(r)
	}
	return r, err
}

// checkBrowser keeps web pages out. A request target that names a host is held
// to the same rule as the Host header, whichever a reader prefers.
func (s *Server) checkBrowser(r *request) error {
	req := httpguard.Request{
		Method: r.method, Host: r.fields.get(nameHost),
		Origin: r.fields.get(nameOrigin), SecFetchSite: r.fields.get(nameSecFetchSite),
	}
	if p := s.rules.Check(req); p != nil {
		return p
	}
	if r.authority == "" {
		return nil
	}
	req.Host = r.authority
	if p := s.rules.Check(req); p != nil {
		return p
	}
	return nil
}
