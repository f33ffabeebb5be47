package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	description "github.com/remora-mq/remora/api"
	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// described holds requests and answers against the description, and notes which
// answers of each operation it saw.
type described struct {
	doc    *openapi3.T
	router routers.Router
	given  map[string]map[string]bool // statuses by "METHOD /path"
}

func readDescription(t *testing.T) *described {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(description.Admin)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	doc.Servers = nil
	plain := func(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
		text, err := io.ReadAll(body)
		return string(text), err
	}
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", plain)
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &described{doc: doc, router: router, given: map[string]map[string]bool{}}
}

// operations are all that is described, as "METHOD /path", with their statuses.
func (d *described) operations() map[string][]string {
	all := map[string][]string{}
	for path, item := range d.doc.Paths.Map() {
		for method, op := range item.Operations() {
			all[method+" "+path] = slices.Sorted(maps.Keys(op.Responses.Map()))
		}
	}
	return all
}

// call is a request to one listener.
type call struct {
	op, path, body string
	header         []string
}

// made returns the request of a call, under its deadline.
func (c call) made(ctx context.Context, t *testing.T, addr string) *http.Request {
	t.Helper()
	method, _, _ := strings.Cut(c.op, " ")
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	if c.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if strings.HasPrefix(c.path, "/v1/import") {
		req.Header.Set("Content-Type", "application/x-ndjson")
	}
	for i := 0; i < len(c.header); i += 2 {
		if req.Header.Set(c.header[i], c.header[i+1]); c.header[i] == "Host" {
			req.Host = c.header[i+1]
		}
	}
	return req
}

// check makes a call and validates its answer, which must be of that status.
func (d *described) check(t *testing.T, addr string, status int, c call) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := do(t, c.made(ctx, t, addr))
	if got.status != status {
		t.Errorf("%s %s: %d %s, want %d", c.op, c.path, got.status, got.body, status)
		return
	}
	req := c.made(ctx, t, "127.0.0.1:7601")
	route, params, err := d.router.FindRoute(req)
	if err != nil || route.Method+" "+route.Path != c.op {
		t.Fatalf("%s %s is not described: %v", c.op, c.path, err)
	}
	input := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route, Options: &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true,
	}}
	if status < 300 {
		if err := openapi3filter.ValidateRequest(ctx, input); err != nil {
			t.Errorf("%s %s is answered, yet admin.yaml forbids it: %v", c.op, c.path, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: status, Header: got.header, Options: input.Options}
	out.SetBodyBytes([]byte(got.body))
	if err := openapi3filter.ValidateResponse(ctx, out); err != nil {
		t.Errorf("%s %s breaks admin.yaml: %v\n%s", c.op, c.path, err, got.body)
	}
	if d.given[c.op] == nil {
		d.given[c.op] = map[string]bool{}
	}
	d.given[c.op][fmt.Sprint(status)] = true
}

// faulty is a spool whose every call fails.
type faulty struct {
	Spool
	Archive

	err error
}

func (f faulty) List(context.Context, spool.Query) (spool.Page, error) { return spool.Page{}, f.err }
func (f faulty) Find(context.Context, message.ID) (spool.Item, error)  { return spool.Item{}, f.err }
func (f faulty) Hold(context.Context, message.ID) (message.Receipt, error) {
	return message.Receipt{}, f.err
}
func (f faulty) ReleaseHeld(context.Context, message.ID) (message.Receipt, error) {
	return message.Receipt{}, f.err
}
func (f faulty) RetryNow(context.Context, message.ID) (message.Receipt, error) {
	return message.Receipt{}, f.err
}
func (f faulty) Cancel(context.Context, message.ID) (message.Receipt, error) {
	return message.Receipt{}, f.err
}
func (f faulty) Resend(context.Context, spool.ResendFilter, bool) (spool.Resent, error) {
	return spool.Resent{}, f.err
}
func (f faulty) Exceptions(context.Context, string, string, int) (spool.Exceptions, error) {
	return spool.Exceptions{}, f.err
}
func (f faulty) Transaction(context.Context, string) (spool.Transaction, error) {
	return spool.Transaction{}, f.err
}
func (f faulty) Transactions(context.Context, []spool.TransactionState, string, int) (spool.TransactionPage, error) {
	return spool.TransactionPage{}, f.err
}
func (f faulty) CommitTransaction(context.Context, string, string) (spool.Transaction, error) {
	return spool.Transaction{}, f.err
}
func (f faulty) RollBackTransaction(context.Context, string, string) (spool.Transaction, error) {
	return spool.Transaction{}, f.err
}
func (f faulty) Import(context.Context, io.Reader, bool) (spool.Imported, error) {
	return spool.Imported{}, f.err
}

const adminToken = "token"

// serveFaulty is a listener of which everything fails with err; nil: its spool is
// not open yet.
func serveFaulty(t *testing.T, err error) (addr string) {
	t.Helper()
	from := Sources{Spool: func() Spool { return nil }, Archive: func() Archive { return nil }, Groups: func() map[string]*deadletter.Group { return nil }, Status: func() any { return make(chan int) }}
	fail := func(context.Context) (any, error) { return nil, problem.New(problem.Starting, "not yet") }
	from.Acknowledge = func(context.Context) (any, error) { return nil, spool.ErrClosed }
	from.ConfirmClock = from.Acknowledge
	from.Seen = func() Seen { return nil }
	if err != nil {
		from.Seen = func() Seen { return someSeen{err} }
		s := faulty{err: err}
		from.Spool, from.Archive = func() Spool { return s }, func() Archive { return s }
		fail = func(context.Context) (any, error) { return nil, err }
		from.Acknowledge, from.ConfirmClock = fail, fail
	}
	decide := func(ctx context.Context, _ string) (any, error) { return fail(ctx) }
	from.Subscriptions = &Subscriptions{List: func() any { return []string{} }, Pause: decide, Resume: decide, Retry: decide,
		Reset: func(ctx context.Context, _ string, _ time.Time, _ bool) (any, error) { return fail(ctx) },
	}
	from.Topics = &Topics{List: func() (any, error) { return fail(t.Context()) }, Pause: decide, Resume: decide}
	from.Ledger, from.Stats, from.Left = fail, fail, leftForEver
	return serve(t, New(Options{Tokens: []string{adminToken}}, from))
}

// Every route is described, nothing else is, and every status that is described
// is given by a real answer which is as it says.
func TestAdminAPIIsAsDescribed(t *testing.T) {
	s, ids := openSpool(t)
	groups, letters := groupOf(t, 3)
	counted := func(context.Context) (any, error) {
		return nil, errors.New("see sidecar.TestAdminAnswersAreAsDescribed")
	}
	server := New(Options{Tokens: []string{adminToken}}, Sources{
		Spool: func() Spool { return s }, Archive: func() Archive { return s }, Status: func() any { return nil }, Ledger: counted, Stats: counted, Acknowledge: counted, ConfirmClock: counted, Forwards: true, Subscriptions: oneSubscription(), Topics: oneTopic(), Left: leftForEver, Conditions: NewConditions(),
		Seen: func() Seen { return someSeen{} }, Groups: groups, Consumed: []Consumed{{"billing", "billing", "orders", true, "first"}},
	})
	d := readDescription(t)
	for _, pattern := range server.patterns {
		if d.operations()[pattern] == nil {
			t.Errorf("%s is served, and not described in api/admin.yaml", pattern)
		}
	}
	for op := range d.operations() {
		if !slices.Contains(server.patterns, op) {
			t.Errorf("%s is described in api/admin.yaml, and not served", op)
		}
	}
	addr, starting, failing := serve(t, server), serveFaulty(t, nil), serveFaulty(t, errors.New("failed on purpose"))
	d.refusals(t, addr, starting, failing, ids)
	d.answers(t, addr, s, ids)
	d.operationAnswers(t, addr, server.operations, ids[0].String())
	d.groupAnswers(t, addr, server.operations, letters)
	if err := server.EndOperations(t.Context()); err != nil {
		t.Error(err)
	}
	d.check(t, addr, http.StatusServiceUnavailable, call{"POST /v1/drain", "/v1/drain", "", []string{"Authorization", "Bearer " + adminToken}})
	elsewhere := []string{"GET /v1/status 200", "GET /v1/ledger 200", "GET /v1/spool 200", "POST /v1/damage/acknowledge 200", "POST /v1/clock/confirm 200", // see sidecar
		"GET /v1/events 200", "GET /v1/events 503"} // do not end: see TestEventsTellWhatChanges, TestReadersOfEventsAreBounded
	for op, statuses := range d.operations() {
		for _, status := range statuses {
			if !d.given[op][status] && !slices.Contains(elsewhere, op+" "+status) {
				t.Errorf("%s is described to answer %s, which no call here is answered", op, status)
			}
		}
	}
}

// refusals makes the calls that any operation refuses for the same reasons.
func (d *described) refusals(t *testing.T, addr, starting, failing string, ids []message.ID) {
	t.Helper()
	export := fmt.Sprintf("{\"remora_export\":1,\"spool\":\"0000000000\",\"created_at\":%q}\n", time.Now().Format(time.RFC3339))
	for op, statuses := range d.operations() {
		method, path, _ := strings.Cut(op, " ")
		c := call{op: op, path: strings.NewReplacer("{id}", ids[0].String(), "{topic}", "a", "{name}", "billing", "{group}", "g").Replace(path)}
		switch path {
		case "/v1/messages/resend":
			c.body = `{"filter":{"topic":"a"}}`
		case "/v1/dead-letters/redrive", "/v1/dead-letters/discard", "/v1/groups/{group}/dead-letters/redrive", "/v1/groups/{group}/dead-letters/discard":
			c.body = `{"filter":{"topic":"a"},"dry_run":true}`
		case "/v1/import":
			c.body = export
		case "/v1/subscriptions/{name}/reset":
			c.body = `{"to":"2026-01-02T03:04:05Z"}`
		}
		with := func(header ...string) call {
			return call{c.op, c.path, c.body, append(header, "Authorization", "Bearer "+adminToken)}
		}
		d.check(t, addr, http.StatusMisdirectedRequest, with("Host", "example.com"))
		d.check(t, addr, http.StatusForbidden, with("Origin", "http://example.com"))
		if method != http.MethodGet || path == "/v1/export" {
			d.check(t, addr, http.StatusUnauthorized, c)
		}
		if slices.Contains(statuses, "503") && path != "/v1/events" && path != "/v1/drain" { // which waits for the spool
			d.check(t, starting, http.StatusServiceUnavailable, with())
		}
		if slices.Contains(statuses, "500") {
			d.check(t, failing, http.StatusInternalServerError, with())
		}
	}
}

// answers makes the calls whose answers are an operation's own.
func (d *described) answers(t *testing.T, addr string, s *spool.Spool, ids []message.ID) {
	t.Helper()
	unknown := strings.Repeat("0", 31) + "1"
	var export bytes.Buffer
	if _, err := s.Export(t.Context(), &export, spool.Query{}); err != nil {
		t.Fatal(err)
	}
	buried(t, s, "a")
	first, second, third := ids[0].String(), ids[1].String(), ids[2].String() // a dead letter, and two that wait
	for _, x := range []struct {
		status   int
		op, path string
		body     string
	}{
		{200, "GET /openapi.yaml", "/openapi.yaml", ""},
		{200, "GET /v1/messages", "/v1/messages?limit=2&older_than=0s&tag=tag", ""},
		{400, "GET /v1/messages", "/v1/messages?stat=dead", ""},
		{400, "GET /v1/messages", "/v1/messages?cursor=x", ""},
		{200, "GET /v1/messages/{id}", "/v1/messages/" + first, ""},
		{200, "GET /v1/messages/{id}", "/v1/messages/" + second + "?body=true", ""},
		{400, "GET /v1/messages/{id}", "/v1/messages/" + second + "?body=perhaps", ""},
		{404, "GET /v1/messages/{id}", "/v1/messages/" + unknown, ""},
		{404, "GET /v1/messages/{id}", "/v1/messages/x", ""},
		{200, "POST /v1/messages/{id}/hold", "/v1/messages/" + second + "/hold", ""},
		{404, "POST /v1/messages/{id}/hold", "/v1/messages/" + unknown + "/hold", ""},
		{409, "POST /v1/messages/{id}/hold", "/v1/messages/" + first + "/hold", ""},
		{200, "POST /v1/messages/{id}/release", "/v1/messages/" + second + "/release", ""},
		{404, "POST /v1/messages/{id}/release", "/v1/messages/" + unknown + "/release", ""},
		{409, "POST /v1/messages/{id}/release", "/v1/messages/" + first + "/release", ""},
		{200, "POST /v1/messages/{id}/retry", "/v1/messages/" + second + "/retry", ""},
		{404, "POST /v1/messages/{id}/retry", "/v1/messages/" + unknown + "/retry", ""},
		{409, "POST /v1/messages/{id}/retry", "/v1/messages/" + first + "/retry", ""},
		{200, "DELETE /v1/messages/{id}", "/v1/messages/" + third, ""},
		{404, "DELETE /v1/messages/{id}", "/v1/messages/" + unknown, ""},
		{409, "DELETE /v1/messages/{id}", "/v1/messages/" + first, ""},
		{200, "GET /v1/messages", "/v1/messages?state=dead,cancelled,pending", ""},
		{200, "GET /v1/messages", "/v1/messages?topic=a&origin=" + ids[1].Spool().String() + "&numbers=1-2,9", ""},
		{400, "GET /v1/messages", "/v1/messages?topic=a&origin=" + ids[1].Spool().String() + "&numbers=2,1", ""},
		{200, "GET /v1/ledger/seen", "/v1/ledger/seen", ""},
		{200, "GET /v1/ledger/seen", "/v1/ledger/seen?group=billing&topic=orders&origin=0102030405&from=1", ""},
		{400, "GET /v1/ledger/seen", "/v1/ledger/seen?group=billing&topic=orders&origin=1", ""},
		{404, "GET /v1/ledger/seen", "/v1/ledger/seen?group=none&topic=orders&origin=0102030405", ""},
		{200, "GET /v1/ledger/{topic}/exceptions", "/v1/ledger/a/exceptions?limit=1", ""},
		{400, "GET /v1/ledger/{topic}/exceptions", "/v1/ledger/a/exceptions?limit=0", ""},
		{404, "GET /v1/ledger/{topic}/exceptions", "/v1/ledger/unknown/exceptions", ""},
		{200, "POST /v1/messages/resend", "/v1/messages/resend", `{"filter":{"ids":["` + unknown + `"]},"dry_run":true}`},
		{202, "POST /v1/messages/resend", "/v1/messages/resend", `{"filter":{"since":"2026-01-02T03:04:05Z"}}`},
		{400, "POST /v1/messages/resend", "/v1/messages/resend", `{"filter":{}}`},
		{200, "GET /v1/export", "/v1/export", ""},
		{400, "GET /v1/export", "/v1/export?state=confirmed", ""},
		{200, "POST /v1/import", "/v1/import", export.String()},
		{400, "POST /v1/import", "/v1/import", "x"},
		{200, "GET /v1/topics", "/v1/topics", ""},
		{200, "POST /v1/topics/{topic}/pause", "/v1/topics/orders/pause", ""},
		{404, "POST /v1/topics/{topic}/pause", "/v1/topics/none/pause", ""},
		{200, "POST /v1/topics/{topic}/resume", "/v1/topics/orders/resume", ""},
		{404, "POST /v1/topics/{topic}/resume", "/v1/topics/none/resume", ""},
		{200, "GET /v1/subscriptions", "/v1/subscriptions", ""},
		{200, "POST /v1/subscriptions/{name}/pause", "/v1/subscriptions/billing/pause", ""},
		{404, "POST /v1/subscriptions/{name}/pause", "/v1/subscriptions/nobody/pause", ""},
		{200, "POST /v1/subscriptions/{name}/resume", "/v1/subscriptions/billing/resume", ""},
		{404, "POST /v1/subscriptions/{name}/resume", "/v1/subscriptions/nobody/resume", ""},
		{200, "POST /v1/subscriptions/{name}/retry", "/v1/subscriptions/billing/retry", ""},
		{404, "POST /v1/subscriptions/{name}/retry", "/v1/subscriptions/nobody/retry", ""},
		{200, "POST /v1/subscriptions/{name}/reset", "/v1/subscriptions/billing/reset", `{"to":"2026-01-02T03:04:05Z","dry_run":true}`},
		{400, "POST /v1/subscriptions/{name}/reset", "/v1/subscriptions/billing/reset", `{"dry_run":true}`},
		{404, "POST /v1/subscriptions/{name}/reset", "/v1/subscriptions/nobody/reset", `{"to":"2026-01-02T03:04:05Z"}`},
		{409, "POST /v1/subscriptions/{name}/reset", "/v1/subscriptions/billing/reset", `{"to":"2026-01-02T03:04:05Z"}`},
	} {
		d.check(t, addr, x.status, call{x.op, x.path, x.body, []string{"Authorization", "Bearer " + adminToken}})
	}
	for _, id := range []string{"tx", "done"} {
		draft := spool.TransactionDraft{ID: id, Messages: []spool.Draft{{Message: message.Message{Topic: "a", Body: []byte("half")}}}, Check: spool.Check{
			URL: "http://127.0.0.1:1/tx", After: time.Minute, Interval: time.Minute, Most: 15, Exhausted: spool.TransactionUndecided,
		}}
		if _, _, err := s.Prepare(t.Context(), draft); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		status   int
		op, path string
	}{
		{200, "GET /v1/transactions", "/v1/transactions?state=half,undecided&limit=1"},
		{400, "GET /v1/transactions", "/v1/transactions?state=quarter"},
		{400, "GET /v1/transactions", "/v1/transactions?cursor=x"},
		{200, "GET /v1/transactions/{id}", "/v1/transactions/tx"},
		{404, "GET /v1/transactions/{id}", "/v1/transactions/unknown"},
		{200, "POST /v1/transactions/{id}/commit", "/v1/transactions/tx/commit"},
		{404, "POST /v1/transactions/{id}/commit", "/v1/transactions/unknown/commit"},
		{409, "POST /v1/transactions/{id}/rollback", "/v1/transactions/tx/rollback"},
		{200, "POST /v1/transactions/{id}/rollback", "/v1/transactions/done/rollback"},
		{404, "POST /v1/transactions/{id}/rollback", "/v1/transactions/unknown/rollback"},
		{409, "POST /v1/transactions/{id}/commit", "/v1/transactions/done/commit"},
		{200, "GET /v1/transactions/{id}", "/v1/transactions/done"},
	} {
		d.check(t, addr, x.status, call{x.op, x.path, "", []string{"Authorization", "Bearer " + adminToken}})
	}
	d.check(t, addr, http.StatusUnauthorized, call{op: "GET /v1/messages/{id}", path: "/v1/messages/" + second + "?body=true"})
}

// oneTopic is orders, which can be paused.
func oneTopic() *Topics {
	orders := map[string]any{
		"topic": "orders", "state": "running", "held_up": []any{},
		"half": 0, "delayed": 0, "pending": 0, "in_flight": 0, "retrying": 0, "dead": 0, "held": 0,
	}
	decide := func(state string, heldUp ...any) func(context.Context, string) (any, error) {
		return func(_ context.Context, topic string) (any, error) {
			if topic != "orders" {
				return nil, problem.New(problem.UnknownTopic, "there is no topic %s", topic)
			}
			now := maps.Clone(orders)
			now["state"], now["held_up"] = state, append([]any{}, heldUp...)
			return now, nil
		}
	}
	return &Topics{
		List:   func() (any, error) { return []any{orders}, nil },
		Pause:  decide("paused", map[string]any{"cause": "paused", "since": "2026-01-02T03:04:05Z", "detail": "by an operator"}),
		Resume: decide("running"),
	}
}

// oneSubscription is billing, which can be paused.
func oneSubscription() *Subscriptions {
	billing := map[string]any{
		"name": "billing", "topic": "orders", "group": "billing", "mode": "push", "state": "running", "held_up": []any{},
		"in_flight": 0, "leased": 0, "held": 0,
	}
	decide := func(state string, heldUp ...any) func(context.Context, string) (any, error) {
		return func(_ context.Context, name string) (any, error) {
			if name != "billing" {
				return nil, problem.New(problem.UnknownSubscription, "none is called %s", name)
			}
			now := maps.Clone(billing)
			now["state"], now["held_up"] = state, append([]any{}, heldUp...)
			return now, nil
		}
	}
	return &Subscriptions{
		List:   func() any { return []any{billing} },
		Pause:  decide("paused", map[string]any{"cause": "paused", "since": "2026-01-02T03:04:05Z", "detail": "by an operator"}),
		Resume: decide("running"),
		Retry:  decide("running"),
		Reset: func(_ context.Context, name string, to time.Time, dryRun bool) (any, error) {
			switch {
			case name != "billing":
				return nil, problem.New(problem.UnknownSubscription, "none is called %s", name)
			case !dryRun:
				return nil, problem.New(problem.GroupHasMembers, "group billing has other members")
			}
			return map[string]any{
				"name": name, "topic": "orders", "group": "billing", "to": to, "dry_run": true, "repeats": 2, "skips": 0, "members": []string{},
				"queues": []any{map[string]any{"queue": "broker-a/0", "from": nil, "to": 1, "repeats": 2, "skips": 0}},
				"dedupe": map[string]any{"store": "off"},
			}, nil
		},
	}
}

// buried makes the oldest message of a topic a dead letter.
func buried(t *testing.T, s *spool.Spool, topic string) {
	t.Helper()
	leases, err := s.Lease(t.Context(), topic, spool.LeaseOptions{MaxMessages: 1})
	if err == nil {
		err = s.Bury(t.Context(), leases[0], "REFUSED", "the broker does not want it")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What an import answers is described, also what few imports have.
func TestImportIsDescribed(t *testing.T) {
	text, err := json.Marshal(spool.Imported{Messages: 1, Known: 1, Keys: 1, Conflicts: 1, Refused: 1, Transactions: 1, Unfit: []string{"line 2: too large"}})
	if err != nil {
		t.Fatal(err)
	}
	var answer any
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	if err := readDescription(t).doc.Components.Schemas["imported"].Value.VisitJSON(answer); err != nil {
		t.Error(err)
	}
}
