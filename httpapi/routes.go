package httpapi

import (
	"slices"
	"strings"

	"github.com/remora-mq/remora/api"
	"github.com/remora-mq/remora/internal/problem"
)

// handler answers a request; arg is the one variable segment of its path.
type handler func(s *Server, r *request, arg string) (response, error)

const post = "POST"

// route is one path and what may be done there.
type route struct {
	path    []string // "*" stands for any one segment
	methods map[string]handler
	publish bool // counted in the metrics; refused while draining
	public  bool // needs no token: it tells nothing of this sidecar

	transactions bool // is there where there are transactions
}

var routes = []route{
	{path: []string{"v1", "topics", "*", "messages"}, methods: map[string]handler{post: (*Server).publish}, publish: true},
	{path: []string{"v1", "messages:batch"}, methods: map[string]handler{post: (*Server).publishBatch}, publish: true},
	{path: []string{"v1", "messages", "*"}, methods: map[string]handler{"GET": (*Server).receipt, "DELETE": (*Server).cancel}},
	{path: []string{"v1", "subscriptions", "*", "receive"}, methods: map[string]handler{post: (*Server).receiveMessages}},
	{path: []string{"v1", "deliveries", "*"}, methods: map[string]handler{"GET": (*Server).delivery}},
	{path: []string{"v1", "deliveries", "*", "ack"}, methods: map[string]handler{post: (*Server).ack}},
	{path: []string{"v1", "deliveries", "*", "nack"}, methods: map[string]handler{post: (*Server).nack}},
	{path: []string{"v1", "deliveries", "*", "extend"}, methods: map[string]handler{post: (*Server).extend}},
	{path: []string{"v1", "transactions"}, methods: map[string]handler{post: (*Server).prepare, "GET": (*Server).listTransactions}, publish: true, transactions: true},
	{path: []string{"v1", "transactions", "*"}, methods: map[string]handler{"GET": (*Server).showTransaction}, transactions: true},
	{path: []string{"v1", "transactions", "*", "commit"}, methods: map[string]handler{post: (*Server).commit}, transactions: true},
	{path: []string{"v1", "transactions", "*", "rollback"}, methods: map[string]handler{post: (*Server).rollBack}, transactions: true},
	{path: []string{"v1", "status"}, methods: map[string]handler{"GET": (*Server).status}},
	{path: []string{"openapi.yaml"}, methods: map[string]handler{"GET": (*Server).openAPI}, public: true},
	{path: []string{"problems"}, methods: map[string]handler{"GET": (*Server).problemIndex}, public: true},
	{path: []string{"problems", "*"}, methods: map[string]handler{"GET": (*Server).problemPage}, public: true},
}

// findRoute returns the route of a path and its variable segment; nil: none.
func findRoute(segments []string) (*route, string) {
	for i := range routes {
		if arg, ok := match(routes[i].path, segments); ok {
			return &routes[i], arg
		}
	}
	return nil, ""
}

func match(pattern, segments []string) (arg string, ok bool) {
	if len(pattern) != len(segments) {
		return "", false
	}
	for i, want := range pattern {
		switch want {
		case "*":
			arg = segments[i]
		case segments[i]:
		default:
			return "", false
		}
	}
	return arg, true
}

func (s *Server) serveRoute(r *request) (response, error) {
	rt := r.route
	if rt == nil || !rt.public {
		if p := s.tokens.Check(r.fields.get(nameAuthorization)); p != nil {
			return response{}, p
		}
	}
	if rt == nil {
		return response{}, problem.New(problem.NoSuchPath, "there is nothing at this path")
	}
	if rt.transactions && s.opts.Transactions == nil {
		return response{}, problem.New(problem.NoSuchPath, "there are no transactions here")
	}
	method := r.method
	if method == "HEAD" {
		method = "GET"
	}
	do := rt.methods[method]
	switch {
	case do == nil:
		p := problem.New(problem.MethodNotAllowed, "the method %.20q is not allowed here", r.method)
		p.Allow = rt.allow()
		return response{}, p
	case rt.publish && r.method == post && s.draining.Load():
		return response{}, problem.New(problem.Draining, "the sidecar is stopping and accepts nothing more")
	}
	return do(s, r, r.arg)
}

// allow is the Allow header of the route.
func (rt *route) allow() string {
	var methods []string
	for m := range rt.methods {
		methods = append(methods, m)
		if m == "GET" {
			methods = append(methods, "HEAD")
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

func (s *Server) openAPI(*request, string) (response, error) {
	return response{status: 200, contentType: "application/yaml", body: api.OpenAPI}, nil
}

func (s *Server) problemIndex(*request, string) (response, error) {
	return markdown(problem.Index()), nil
}

func (s *Server) problemPage(_ *request, code string) (response, error) {
	page := problem.Page(code)
	if page == "" {
		return response{}, problem.New(problem.NoSuchPath, "there is no such problem code; /problems lists them all")
	}
	return markdown(page), nil
}

func markdown(text string) response {
	return response{status: 200, contentType: "text/markdown; charset=utf-8", body: []byte(text)}
}
