package serve

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// gatedBroker refuses everything until it is open, as a broker does that is
// down; then it confirms everything at once.
type gatedBroker struct {
	nullBroker
	open atomic.Bool
}

func (g *gatedBroker) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	if !g.open.Load() {
		return nil, &broker.SendError{Outcome: message.OutcomeRetryable, Status: "CLOSED", Err: errors.New("the gate is closed")}
	}
	return g.nullBroker.Send(ctx, msgs)
}

// held is a spool whose broker refuses everything until it is told not to.
type held struct {
	*spooled
	gate   *gatedBroker
	cancel context.CancelFunc // of giving back
	given  chan struct{}      // closed at its end
}

// heldLimit is what a held spool may take, in bytes.
const heldLimit = 1 << 40

func openHeld(ctx context.Context, dir string) (*held, error) {
	gate := &gatedBroker{}
	s, err := openSpool(ctx, dir, heldLimit, gate)
	if err != nil {
		return nil, err
	}
	gctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h := &held{spooled: s, gate: gate, cancel: cancel, given: make(chan struct{})}
	go func() {
		defer close(h.given)
		s.giveBack(gctx, dir, logger())
	}()
	return h, nil
}

// handle adds what a parent can ask of it.
func (h *held) handle(mux *http.ServeMux) {
	mux.HandleFunc("POST /open", func(http.ResponseWriter, *http.Request) { h.gate.open.Store(true) })
	mux.HandleFunc("POST /close", func(http.ResponseWriter, *http.Request) { h.gate.open.Store(false) })
	mux.HandleFunc("GET /known", func(w http.ResponseWriter, _ *http.Request) { answer(w, h.Known()) })
	mux.HandleFunc("GET /transactions", func(w http.ResponseWriter, _ *http.Request) { answer(w, h.TransactionCounts()) })
	mux.HandleFunc("GET /totals", func(w http.ResponseWriter, _ *http.Request) { answer(w, h.Ledger().Total) })
}

// close leaves what waits where it is.
func (h *held) close(context.Context) (Account, error) {
	h.cancel()
	<-h.given
	return h.end() //nolint:contextcheck // it bounds itself
}
