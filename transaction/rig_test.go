package transaction_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		runChild(dir)
	}
	checks, steps := testscale.Between(25, 3000), testscale.Between(40, 100)
	for name, value := range map[string]string{"rapid.checks": strconv.Itoa(checks), "rapid.steps": strconv.Itoa(steps), "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil { // the command line still counts
			panic(err)
		}
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// rig is a spool with a Checker, and an application that it asks.
type rig struct {
	*spool.Spool

	t   rapid.TB
	dir string
	db  *kv.DB
	o   transaction.Options
	app *application
	end func()

	checker *transaction.Checker // the last that run began
	now     func() time.Time     // nil: that of the system
}

func newRig(t *testing.T, o transaction.Options, answer http.HandlerFunc) *rig {
	t.Helper()
	o.Timeout = cmp.Or(o.Timeout, time.Minute) // a process may get no time for a while, and no check-back is to be repeated for that
	r := &rig{t: t, dir: t.TempDir(), o: o, app: newApplication(t, answer)}
	if r.o.Allowed == nil {
		r.o.Allowed = transaction.Allowed{r.app.URL}
	}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.db, err = kv.Open(context.Background(), kv.Options{Dir: filepath.Join(r.dir, "db"), MemTableSize: 1 << 20, CloseWait: 2 * time.Minute}); err != nil {
		r.t.Fatal(err)
	}
	if r.Spool, err = spool.Open(context.Background(), r.db, spool.Options{Dir: r.dir, Now: r.now}); err != nil {
		r.t.Fatal(err)
	}
	r.end = func() {}
}

// run begins to ask.
func (r *rig) run() { r.runOn(r.Spool) }

func (r *rig) runOn(s transaction.Spool) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.checker = transaction.New(s, r.o)
	go func() {
		defer close(done)
		if err := r.checker.Run(ctx); !errors.Is(err, context.Canceled) {
			r.t.Errorf("run: %v", err)
		}
	}()
	r.end = sync.OnceFunc(func() { cancel(); <-done })
}

func (r *rig) close() {
	r.end()
	if err := errors.Join(r.Spool.Close(), r.db.Close()); err != nil {
		r.t.Error(err)
	}
}

// prepare leaves a transaction open, to be checked at once.
func (r *rig) prepare(d spool.TransactionDraft, messages ...message.Message) spool.Transaction {
	r.t.Helper()
	if d.Check.URL == "" {
		d.Check.URL = r.app.URL + "/tx"
	}
	for _, m := range messages {
		d.Messages = append(d.Messages, spool.Draft{Message: m})
	}
	if len(messages) == 0 {
		d.Messages = []spool.Draft{{Message: message.Message{Topic: "t", Body: []byte("body")}}}
	}
	t, _, err := r.Prepare(context.Background(), d)
	if err != nil {
		r.t.Fatal(err)
	}
	return t
}

// check is a schedule that goes through its check-backs at once.
func check(most int) spool.Check {
	return spool.Check{Interval: time.Millisecond, Most: most, Exhausted: spool.TransactionUndecided}
}

// await waits until a transaction is as is says.
func (r *rig) await(id string, is func(spool.Transaction) bool) spool.Transaction {
	r.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		t, err := r.Transaction(context.Background(), id)
		if err == nil && is(t) {
			return t
		}
		if time.Since(began) > time.Minute {
			r.t.Fatalf("transaction %s is %+v, %v", id, t, err)
		}
	}
}

// counted waits until a counter, with a label of that value or with none, says so.
func (r *rig) counted(of interface{ Collectors() []prometheus.Collector }, name, label string, want float64) {
	r.t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(of.Collectors()...)
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		families, err := registry.Gather()
		if err != nil {
			r.t.Fatal(err)
		}
		got := -1.0
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
					got = m.GetCounter().GetValue()
				}
			}
		}
		if got == want {
			return
		}
		if time.Since(began) > time.Minute {
			r.t.Fatalf("%s %s is %v, want %v", name, label, got, want)
		}
	}
}

func in(state spool.TransactionState) func(spool.Transaction) bool {
	return func(t spool.Transaction) bool { return t.State == state }
}

// application answers check-backs, and notes them.
type application struct {
	*httptest.Server

	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
	open     int // being answered
	most     int // that were, at once
}

func newApplication(t *testing.T, answer http.HandlerFunc) *application {
	t.Helper()
	a := &application{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		a.mu.Lock()
		a.requests, a.bodies = append(a.requests, req), append(a.bodies, string(body))
		a.open++
		a.most = max(a.most, a.open)
		a.mu.Unlock()
		answer(w, req)
		a.mu.Lock()
		a.open--
		a.mu.Unlock()
	}))
	t.Cleanup(a.Close)
	return a
}

// asked returns how many check-backs came, and how many at once.
func (a *application) asked() (all, most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.requests), a.most
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}
