package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/internal/wire"
)

// run is what an operation does.
type run interface {
	Do(ctx context.Context) error
	Progress() deadletter.Progress
}

// operation is long work that an operator began and may follow or stop. It lives
// in memory: a restart ends it, and what it has done stays done.
type operation struct {
	id     string
	kind   string // redrive, discard
	rate   int
	run    run
	began  time.Time
	cancel context.CancelFunc
	done   chan struct{}

	// After done.
	ended time.Time
	err   error
}

// States of an operation.
const (
	opRunning = "running"
	opDone    = "done"    // all that was chosen
	opStopped = "stopped" // by an operator, by its canary, or because the sidecar ends
	opFailed  = "failed"
)

// operationJSON is the answer of GET /v1/operations/{id}.
type operationJSON struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	State     string     `json:"state"`
	Detail    string     `json:"detail,omitempty"` // why it ended before it was done
	Rate      int        `json:"rate,omitempty"`   // messages a second
	StartedAt wire.Time  `json:"started_at"`
	EndedAt   *wire.Time `json:"ended_at,omitempty"`

	deadletter.Progress
}

func (o *operation) json() operationJSON {
	out := operationJSON{ID: o.id, Kind: o.kind, State: opRunning, Rate: o.rate, StartedAt: wire.Time(o.began)}
	select {
	case <-o.done:
		out.EndedAt = wire.OptionalTime(o.ended)
		out.State, out.Detail = o.verdict()
	default:
	}
	out.Progress = o.run.Progress()
	return out
}

func (o *operation) verdict() (state, detail string) {
	switch {
	case o.err == nil:
		return opDone, ""
	case errors.Is(o.err, deadletter.ErrReturned):
		return opStopped, o.err.Error()
	case errors.Is(o.err, context.Canceled):
		return opStopped, "it was told to stop"
	}
	return opFailed, o.err.Error()
}

// keptOperations is how many that have ended are remembered.
const keptOperations = 100

// operations are those of this process. One runs at a time.
type operations struct {
	life context.Context //nolint:containedctx // of what runs, until end
	stop context.CancelFunc

	mu  sync.Mutex
	all []*operation // the newest last
}

func newOperations() *operations {
	o := &operations{}
	o.life, o.stop = context.WithCancel(context.Background())
	return o
}

// begin starts a run, unless another one is running.
func (o *operations) begin(kind string, rate int, run run) (*operation, *problem.Problem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life.Err() != nil {
		return nil, problem.New(problem.Draining, "the sidecar is stopping")
	}
	for _, other := range o.all {
		if other.running() {
			return nil, problem.New(problem.OperationRunning, "the %s %s has not ended", other.kind, other.id)
		}
	}
	ctx, cancel := context.WithCancel(o.life)
	op := &operation{
		id: rand.Text(), kind: kind, rate: rate, run: run, began: time.Now(), cancel: cancel, done: make(chan struct{}),
	}
	o.all = append(o.all[max(0, len(o.all)-keptOperations+1):], op)
	go func() {
		defer close(op.done)
		defer cancel()
		op.err = run.Do(ctx)
		op.ended = time.Now()
	}()
	return op, nil
}

func (o *operation) running() bool {
	select {
	case <-o.done:
		return false
	default:
		return true
	}
}

func (o *operations) find(id string) *operation {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, op := range o.all {
		if op.id == id {
			return op
		}
	}
	return nil
}

func (o *operations) list() []*operation {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]*operation{}, o.all...)
}

// end stops what runs, lets nothing begin any more, and waits.
func (o *operations) end(ctx context.Context) error {
	o.mu.Lock()
	o.stop()
	o.mu.Unlock()
	for _, op := range o.list() {
		select {
		case <-op.done:
		case <-ctx.Done():
			return fmt.Errorf("%s %s has not ended: %w", op.kind, op.id, ctx.Err())
		}
	}
	return nil
}

// routeOperations serves long work.
func (a *api) routeOperations(mux *routes) {
	mux.HandleFunc("GET /v1/operations", a.listOperations)
	mux.HandleFunc("GET /v1/operations/{id}", a.getOperation)
	mux.HandleFunc("POST /v1/operations/{id}/stop", a.stopOperation)
}

func (a *api) listOperations(w http.ResponseWriter, _ *http.Request) {
	items := []operationJSON{}
	for _, op := range a.operations.list() {
		items = append(items, op.json())
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items})
}

func (a *api) getOperation(w http.ResponseWriter, r *http.Request) {
	if op := a.operation(w, r); op != nil {
		writeJSON(w, http.StatusOK, op.json())
	}
}

// stopOperation answers when it has ended.
func (a *api) stopOperation(w http.ResponseWriter, r *http.Request) {
	op := a.operation(w, r)
	if op == nil {
		return
	}
	op.cancel()
	select {
	case <-op.done:
		writeJSON(w, http.StatusOK, op.json())
	case <-r.Context().Done():
		writeProblem(w, problem.New(problem.Busy, "it has been told to stop, and has not ended yet"))
	}
}

func (a *api) operation(w http.ResponseWriter, r *http.Request) *operation {
	op := a.operations.find(r.PathValue("id"))
	if op == nil {
		writeProblem(w, problem.New(problem.NotFound, "no operation of this process is named %.40q; one from before a restart has ended, and what it had done is done", r.PathValue("id")))
	}
	return op
}
