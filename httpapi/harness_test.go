package httpapi_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"go.uber.org/goleak"

	"github.com/remora-mq/remora/api"
	"github.com/remora-mq/remora/httpapi"
)

func TestMain(m *testing.M) {
	// fasthttp's clock for the Date header is started once and never ended.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// listener is a running server over a fake spool, and a client of it.
type listener struct {
	t      *testing.T
	spool  *fakeSpool
	server *httpapi.Server
	addr   string
	client *http.Client
}

func start(t *testing.T, opts httpapi.Options) *listener {
	t.Helper()
	ln, err := httpapi.Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, ln, opts)
}

func startOn(t *testing.T, ln net.Listener, opts httpapi.Options) *listener {
	t.Helper()
	fake := newFakeSpool()
	return startServer(t, ln, opts, fake, fake)
}

// startServer serves sp; fake is what the test looks into.
func startServer(t *testing.T, ln net.Listener, opts httpapi.Options, sp httpapi.Spool, fake *fakeSpool) *listener {
	t.Helper()
	if opts.BrokerType == "" {
		opts.BrokerType = "embedded"
	}
	// A process may get no time for a while, nor a disk answer.
	opts.ReadTimeout, opts.AppendTimeout = cmp.Or(opts.ReadTimeout, time.Minute), cmp.Or(opts.AppendTimeout, time.Minute)
	l := &listener{t: t, spool: fake, addr: ln.Addr().String()}
	l.server = httpapi.New(opts, sp)
	network := ln.Addr().Network()
	transport := &http.Transport{
		DisableCompression: true, MaxIdleConnsPerHost: 128,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, l.addr)
		},
	}
	l.client = &http.Client{Transport: transport, Timeout: 2 * time.Minute}
	served := make(chan error, 1)
	go func() { served <- l.server.Serve(ln) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := l.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l
}

// request makes a request; header is name, value, name, value.
func (l *listener) request(method, target, body string, header ...string) *http.Request {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, "http://127.0.0.1:7600"+target, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header[http.CanonicalHeaderKey(header[i])] = append(req.Header[http.CanonicalHeaderKey(header[i])], header[i+1])
	}
	return req
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	ends   bool // it says that the connection closes
	raw    []byte
	json   map[string]any // nil when it is no JSON object
}

func readAnswer(t *testing.T, res *http.Response) *answer {
	t.Helper()
	defer res.Body.Close()
	a := &answer{status: res.StatusCode, header: res.Header, ends: res.Close}
	var err error
	if a.raw, err = io.ReadAll(res.Body); err != nil {
		t.Fatalf("answer is cut: %v", err)
	}
	if res.Request == nil || res.Request.Method != http.MethodHead {
		if strings.Contains(res.Header.Get("Content-Type"), "json") {
			if err := json.Unmarshal(a.raw, &a.json); err != nil {
				t.Fatalf("answer is no JSON: %v\n%s", err, a.raw)
			}
		}
	}
	return a
}

func (l *listener) do(method, target, body string, header ...string) *answer {
	l.t.Helper()
	return l.send(l.request(method, target, body, header...), body)
}

// send sends a request and holds it and its answer against openapi.yaml. A
// request that is refused may break the contract; one that is accepted may not.
func (l *listener) send(req *http.Request, body string) *answer {
	l.t.Helper()
	res, err := l.client.Do(req)
	if err != nil {
		l.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	a := readAnswer(l.t, res)
	contract(l.t).check(l.t, req, body, a)
	return a
}

func (a *answer) code() string {
	code, _ := a.json["code"].(string)
	return code
}

// refused asserts a problem, and that nothing was stored.
func (l *listener) refused(a *answer, status int, code string) {
	l.t.Helper()
	if a.status != status || a.code() != code {
		l.t.Fatalf("answered %d %s, want %d %s", a.status, a.raw, status, code)
	}
	if a.json["status"] != float64(status) || a.json["type"] != "/problems/"+code {
		l.t.Errorf("document does not agree with itself: %s", a.raw)
	}
	if n := len(l.spool.stored()); n != 0 {
		l.t.Errorf("%d messages were stored, want none", n)
	}
}

func (l *listener) accepted(a *answer) {
	l.t.Helper()
	if a.status != 202 {
		l.t.Fatalf("answered %d %s, want 202", a.status, a.raw)
	}
}

// contractOf holds requests and answers against openapi.yaml.
type contractOf struct {
	doc    *openapi3.T
	router routers.Router
}

var loadContract = sync.OnceValues(func() (*contractOf, error) {
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	doc.Servers = nil
	plain := func(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
		text, err := io.ReadAll(body)
		return string(text), err
	}
	openapi3filter.RegisterBodyDecoder("text/markdown", plain)
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", plain)
	openapi3filter.RegisterBodyDecoder("application/cloudevents+json", openapi3filter.JSONBodyDecoder)
	openapi3filter.RegisterBodyDecoder("application/cloudevents-batch+json", openapi3filter.JSONBodyDecoder)
	router, err := gorillamux.NewRouter(doc)
	return &contractOf{doc: doc, router: router}, err
})

func contract(t *testing.T) *contractOf {
	t.Helper()
	c, err := loadContract()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	return c
}

func (c *contractOf) check(t *testing.T, req *http.Request, body string, a *answer) {
	t.Helper()
	if req.Method == http.MethodHead { // as GET, which the document has
		return
	}
	route, params, err := c.router.FindRoute(req)
	if err != nil { // no such path or method: any answer has to be a problem
		c.checkProblem(t, a)
		return
	}
	req.Body = io.NopCloser(strings.NewReader(body))
	input := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route, Options: &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true,
		ExcludeRequestBody: !strings.Contains(req.Header.Get("Content-Type"), "json"),
	}}
	if a.status < 300 {
		if err := openapi3filter.ValidateRequest(t.Context(), input); err != nil {
			t.Errorf("accepted, yet openapi.yaml forbids it: %v", err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: a.status, Header: a.header, Options: input.Options}
	out.SetBodyBytes(a.raw)
	if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
		t.Errorf("answer breaks openapi.yaml: %v\n%s", err, a.raw)
	}
}

func (c *contractOf) checkProblem(t *testing.T, a *answer) {
	t.Helper()
	if a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("answer %d has Content-Type %q, want a problem", a.status, a.header.Get("Content-Type"))
	}
	var v any
	if err := json.NewDecoder(bytes.NewReader(a.raw)).Decode(&v); err != nil {
		t.Fatal(err)
	}
	if err := c.doc.Components.Schemas["problem"].Value.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("problem breaks openapi.yaml: %v\n%s", err, a.raw)
	}
}
