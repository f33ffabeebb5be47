package admin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	description "github.com/remora-mq/remora/api"
	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/internal/httpguard"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// Options are the values of the admin listener.
type Options struct {
	// Tokens are the valid admin tokens. With none, calls that change something
	// need none, and only a loopback address is served.
	Tokens []string
	// AllowedHosts and AllowedOrigins are allowed besides loopback names.
	AllowedHosts   []string
	AllowedOrigins []string
	// Log receives what an operator has to know. Default: discard.
	Log *slog.Logger
}

// Sources are where the answers come from.
type Sources struct {
	// Ledger returns the ledger, as JSON will show it.
	Ledger func(context.Context) (any, error)
	// Status returns the state of all parts, as JSON will show it.
	Status func() any
	// Stats returns what the spool's directory holds, as JSON will show it.
	Stats func(context.Context) (any, error)
	// Spool returns the spool; nil while it is not open.
	Spool func() Spool
	// Archive returns the same spool.
	Archive func() Archive
	// Seen returns the notes of handled messages; nil while they are not open. The
	// field is nil where there never are any.
	Seen func() Seen
	// Consumed are the subscriptions that are configured, as Seen knows them.
	Consumed []Consumed
	// Groups returns the dead letters of the consumer groups that are served here, by
	// the groups' names; nil while they are not. nil: there are none.
	Groups func() map[string]*deadletter.Group
	// Acknowledge notes that an operator knows of the damage that was found, and
	// returns what, as JSON will show it. nil: there is no such call.
	Acknowledge func(context.Context) (any, error)
	// ConfirmClock notes that the wall clock is right, and returns whether anything
	// waited for that, as JSON will show it. nil: there is no such call.
	ConfirmClock func(context.Context) (any, error)
	// Subscriptions are those of the sidecar; nil: there are no such calls.
	Subscriptions *Subscriptions
	// Topics are those of the spool; nil: there are no such calls.
	Topics *Topics
	// Left returns what the spool holds, by what it waits for; open: false while the
	// spool is not open. nil: nothing is forwarded, and there is no call to drain.
	Left func() (left Left, open bool)
	// Conditions are told of by GET /v1/events. nil: there is no such call.
	Conditions *Conditions
	// Forwards says that what is pending is forwarded: the outcomes of a redrive
	// can be waited for.
	Forwards bool
}

const adminHint = "See /openapi.yaml for what there is. Messages are published at listen.data (127.0.0.1:7600 by default); probes and /metrics are at listen.health (127.0.0.1:7602)."

// New returns the admin listener.
func New(opts Options, from Sources) *Server {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	tokens, most := httpguard.NewTokens(opts.Tokens), mostConns(kv.OpenFiles())
	a := &api{Sources: from, tokens: tokens, log: opts.Log, now: time.Now, operations: newOperations(), events: newEvents(rand.Text(), readersOf(most)), looks: &looks{left: from.Left}}
	mux := &routes{ServeMux: http.NewServeMux()}
	mux.HandleFunc("GET /v1/ledger", a.answer(a.Ledger, "the ledger"))
	mux.HandleFunc("GET /v1/spool", a.answer(a.Stats, "the spool's directory"))
	mux.HandleFunc("GET /v1/ledger/{topic}/exceptions", a.exceptions)
	if from.Seen != nil {
		mux.HandleFunc("GET /v1/ledger/seen", a.getSeen)
	}
	mux.HandleFunc("GET /v1/status", a.getStatus)
	a.routeMessages(mux)
	a.routeDeadLetters(mux)
	a.routeGroups(mux)
	a.routeTransactions(mux)
	a.routeOperations(mux)
	if from.Acknowledge != nil {
		mux.HandleFunc("POST /v1/damage/acknowledge", a.record("damage", "/v1/ledger", from.Acknowledge))
	}
	if from.ConfirmClock != nil {
		mux.HandleFunc("POST /v1/clock/confirm", a.record("the step of the clock", "/v1/status", from.ConfirmClock))
	}
	if from.Conditions != nil {
		a.routeEvents(mux)
	}
	if from.Left != nil {
		mux.HandleFunc("POST /v1/drain", a.drain)
	}
	if from.Subscriptions != nil {
		a.routeSubscriptions(mux)
	}
	if from.Topics != nil {
		a.routeTopics(mux)
	}
	mux.HandleFunc("GET /openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, "application/yaml", description.Admin)
	})
	routeConsole(mux.ServeMux)
	guarded := guard(withProblems(mux.ServeMux, adminHint), httpguard.NewRules(opts.AllowedHosts, opts.AllowedOrigins), tokens)
	s := newServer(guarded, newConns(most), opts.Log)
	s.loopbackOnly, s.patterns, s.operations = !tokens.Required(), mux.patterns, a.operations
	s.http.RegisterOnShutdown(a.events.end)
	return s
}

// routes is a mux that knows what it was given, so that a test can compare that
// with the description.
type routes struct {
	*http.ServeMux

	patterns []string
}

// HandleFunc serves what a pattern, method and path, fits.
func (r *routes) HandleFunc(pattern string, serve func(http.ResponseWriter, *http.Request)) {
	r.patterns = append(r.patterns, pattern)
	r.ServeMux.HandleFunc(pattern, serve)
}

// guard lets a request pass that the rules allow and, if it can change
// something, that shows a token.
func guard(next http.Handler, rules *httpguard.Rules, tokens *httpguard.Tokens) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := httpguard.Request{
			Method: r.Method, Host: r.Host, Origin: r.Header.Get("Origin"), SecFetchSite: r.Header.Get("Sec-Fetch-Site"),
		}
		if opensConsole(r) {
			asked.SecFetchSite = ""
		}
		p := rules.Check(asked)
		if p == nil && r.Method != http.MethodGet && r.Method != http.MethodHead {
			p = tokens.Check(r.Header.Get("Authorization"))
		}
		if p != nil {
			writeProblem(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

type api struct {
	Sources

	tokens     *httpguard.Tokens
	log        *slog.Logger
	now        func() time.Time
	operations *operations
	events     *events
	looks      *looks
}

// getStatus answers GET /v1/status.
func (a *api) getStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.Status())
}

// answer serves what ask returns.
func (a *api) answer(ask func(context.Context) (any, error), what string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := ask(r.Context())
		refused, ok := errors.AsType[*problem.Problem](err)
		switch {
		case ok:
			writeProblem(w, refused)
		case err == nil:
			writeJSON(w, http.StatusOK, answer)
		case errors.Is(err, spool.ErrClosed), errors.Is(err, context.Canceled):
			writeProblem(w, problem.New(problem.Draining, "the spool is closing"))
		case errors.Is(err, spool.ErrReadOnly):
			writeProblem(w, problem.New(problem.SpoolReadOnly, "%s cannot be read: a sync failed, and the sidecar is about to restart", what))
		case errors.Is(err, context.DeadlineExceeded):
			writeProblem(w, problem.New(problem.Busy, "the count of the records did not end in time"))
		default:
			a.log.Error("read "+what, "error", err.Error())
			writeProblem(w, problem.New(problem.Internal, "%s could not be read; the sidecar's log says why", what))
		}
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		writeProblem(w, problem.New(problem.Internal, "the answer could not be written as JSON: %s", err))
		return
	}
	write(w, status, "application/json", append(body, '\n'))
}

func writeProblem(w http.ResponseWriter, p *problem.Problem) {
	if p.Allow != "" {
		w.Header().Set("Allow", p.Allow)
	}
	if p.Code == problem.Unauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="remora admin"`)
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfterSeconds()))
	}
	write(w, p.Status, problem.ContentType, p.JSON())
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	// From here on: what was asked for may have taken longer than a whole answer may.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stalled)) // where there is none, none is late
	describe(w, contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // JSON with its own type and nosniff; the client may be gone
}

// describe sets the headers of every answer.
func describe(w http.ResponseWriter, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}
