package admin

import (
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/problem"
)

const healthHint = "Here are /livez, /readyz, /startupz and /metrics. Messages are published at listen.data (127.0.0.1:7600 by default); what operators ask for is at listen.admin (127.0.0.1:7601)."

// NewHealth returns the health listener: /livez, /readyz, /startupz, each with
// ?verbose, and /metrics.
func NewHealth(conditions *Conditions, metrics prometheus.Gatherer, log *slog.Logger) *Server {
	h := &health{conditions: conditions}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", h.answer(func() []Condition { return nil })) // it answers, so it lives
	mux.HandleFunc("GET /readyz", h.answer(conditions.Unready))
	mux.HandleFunc("GET /startupz", h.answer(h.unstarted))
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	held := newConns(mostConns(kv.OpenFiles()))
	held.brief = true // what is asked here is answered from memory
	return newServer(withProblems(mux, healthHint), held, log)
}

type health struct{ conditions *Conditions }

func (h *health) unstarted() []Condition {
	if h.conditions.Is(Starting) {
		return []Condition{Starting}
	}
	return nil
}

type verboseJSON struct {
	OK         bool              `json:"ok"`
	Conditions []ConditionStatus `json:"conditions"`
}

// answer makes a probe: 200 while nothing is against it, else 503.
func (h *health) answer(against func() []Condition) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		names := against()
		status := http.StatusOK
		if len(names) > 0 {
			status = http.StatusServiceUnavailable
		}
		if r.URL.Query().Has("verbose") {
			writeJSON(w, status, verboseJSON{OK: len(names) == 0, Conditions: h.conditions.list()})
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprintln(w, sentence(names))
	}
}

func sentence(against []Condition) string {
	if len(against) == 0 {
		return "ok"
	}
	return fmt.Sprintf("not ok: %s", slices.Sorted(slices.Values(against)))
}

// withProblems answers what mux has no route for with a problem document. A path that
// has to be cleaned is none, as on the data listener: mux would redirect to another. The
// hint says where what is asked for may be: most who get it ask the wrong listener.
func withProblems(mux *http.ServeMux, hint string) http.Handler {
	nothing := func(w http.ResponseWriter) {
		p := problem.New(problem.NoSuchPath, "there is nothing at this path")
		p.Hint = hint
		writeProblem(w, p)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if escaped := r.URL.EscapedPath(); path.Clean(escaped) != escaped {
			nothing(w)
			return
		}
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		refused := &statusRecorder{header: http.Header{}}
		mux.ServeHTTP(refused, r) // tells 404 from 405, and which methods there are
		if refused.status == http.StatusMethodNotAllowed {
			p := problem.New(problem.MethodNotAllowed, "the method %.20q is not allowed here", r.Method)
			p.Allow = refused.header.Get("Allow")
			writeProblem(w, p)
			return
		}
		nothing(w)
	})
}

// statusRecorder keeps what a mux answers by itself.
type statusRecorder struct {
	header http.Header
	status int
}

func (s *statusRecorder) Header() http.Header         { return s.header }
func (s *statusRecorder) Write(b []byte) (int, error) { return len(b), nil }
func (s *statusRecorder) WriteHeader(status int)      { s.status = status }
