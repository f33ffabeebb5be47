package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/internal/wire"
)

// run is what an operation does: a *drain, or letters.
type run interface {
	Do(ctx context.Context) error
}

// letters redrives or discards dead letters.
type letters interface {
	run
	Progress() deadletter.Progress
}

// Kinds of operations.
const (
	kindRedrive = "redrive"
	kindDiscard = "discard"
	kindDrain   = "drain"
)

// operation is long work that an operator began and may follow or stop. It lives
// in memory: a restart ends it, and what it has done stays done.
type operation struct {
	id     string
	kind   string
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
	opStopped = "stopped" // by an operator, by its canary, because its time is over, or because the sidecar ends
	opFailed  = "failed"
)

// operationJSON is what the answers of GET /v1/operations/{id} have in common.
type operationJSON struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	State     string     `json:"state"`
	Detail    string     `json:"detail,omitempty"` // why it ended before it was done
	Rate      int        `json:"rate,omitempty"`   // messages a second
	StartedAt wire.Time  `json:"started_at"`
	EndedAt   *wire.Time `json:"ended_at,omitempty"`
}

// lettersJSON is the answer for operations on dead letters.
type lettersJSON struct {
	operationJSON
	deadletter.Progress
}

// drainJSON is the answer for a drain.
type drainJSON struct {
	operationJSON
	drainProgress
}

// json is read before the progress: who is told that it has ended is told all of it.
func (o *operation) json() any {
	common := o.common()
	switch r := o.run.(type) {
	case *drain:
		return drainJSON{common, r.progress()}
	case letters:
		return lettersJSON{common, r.Progress()}
	}
	return common
}

func (o *operation) common() operationJSON {
	out := operationJSON{ID: o.id, Kind: o.kind, State: opRunning, Rate: o.rate, StartedAt: wire.Time(o.began)}
	select {
	case <-o.done:
		out.EndedAt = wire.OptionalTime(o.ended)
		out.State, out.Detail = o.verdict()
	default:
	}
	return out
}

func (o *operation) verdict() (state, detail string) {
	switch {
	case o.err == nil:
		return opDone, ""
	case errors.Is(o.err, deadletter.ErrReturned), errors.Is(o.err, errTimeOver), errors.Is(o.err, errNotOpen):
		return opStopped, o.err.Error()
	case errors.Is(o.err, context.Canceled):
		return opStopped, "it was told to stop"
	}
	return opFailed, o.err.Error()
}

// keptOperations is how many that have ended are remembered.
const keptOperations = 100

// mostDrains is how many may wait at a time.
const mostDrains = 16

// operations are those of this process. Of those on dead letters one runs at a time.
type operations struct {
	life context.Context //nolint:containedctx // of what runs, until end
	stop context.CancelFunc

	changed func(*operation) // one has begun, or ended; nil: nobody is told

	mu  sync.Mutex
	all []*operation // the newest last
}

func newOperations() *operations {
	o := &operations{}
	o.life, o.stop = context.WithCancel(context.Background())
	return o
}

// begin starts a run, unless one is running that it cannot run beside.
func (o *operations) begin(kind string, rate int, run run) (*operation, *problem.Problem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life.Err() != nil {
		return nil, problem.New(problem.Draining, "the sidecar is stopping")
	}
	if other := o.inTheWay(kind); other != nil {
		return nil, problem.New(problem.OperationRunning, "the %s %s has not ended", other.kind, other.id)
	}
	ctx, cancel := context.WithCancel(o.life)
	op := &operation{
		id: rand.Text(), kind: kind, rate: rate, run: run, began: time.Now(), cancel: cancel, done: make(chan struct{}),
	}
	o.forget()
	o.all = append(o.all, op)
	o.tell(op)
	go func() {
		defer o.tell(op)
		defer close(op.done)
		defer cancel()
		op.err = run.Do(ctx)
		op.ended = time.Now()
	}()
	return op, nil
}

func (o *operations) tell(op *operation) {
	if o.changed != nil {
		o.changed(op)
	}
}

// inTheWay returns the newest that keeps one of a kind from beginning; nil: none does. A
// drain only looks, and what it waits for may be a redrive. o.mu is held.
func (o *operations) inTheWay(kind string) (other *operation) {
	running := 0
	for _, op := range o.all {
		if op.running() && (op.kind == kindDrain) == (kind == kindDrain) {
			other = op
			running++
		}
	}
	if kind == kindDrain && running < mostDrains {
		return nil
	}
	return other
}

// forget makes room for one more: the oldest that has ended goes. o.mu is held.
func (o *operations) forget() {
	if len(o.all) < keptOperations {
		return
	}
	if i := slices.IndexFunc(o.all, func(op *operation) bool { return !op.running() }); i >= 0 {
		o.all = slices.Delete(o.all, i, i+1)
	}
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

// writeBegun answers with an operation that has begun, and where to follow it.
func writeBegun(w http.ResponseWriter, op *operation) {
	w.Header().Set("Location", "/v1/operations/"+op.id)
	writeJSON(w, http.StatusAccepted, op.json())
}

func (a *api) listOperations(w http.ResponseWriter, _ *http.Request) {
	items := []any{}
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
