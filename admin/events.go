package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/internal/wire"
)

const (
	// keptEvents are those that a reader who is slow, or comes back, can still get.
	keptEvents = 256
	// mostReaders bounds who reads events at a time; each keeps a connection (readersOf).
	mostReaders = 16
	// heartbeat is how often a reader without events is sent a comment, by which both
	// sides notice that the other is gone.
	heartbeat = 15 * time.Second
	// unheard is how long a reader may acknowledge nothing of what it was sent: with
	// heartbeat no more than a minute after it has vanished, it is gone here, too.
	unheard = 45 * time.Second
)

// event is one of GET /v1/events.
type event struct {
	name string
	data []byte // JSON, in one line
}

// events are what happened lately. Readers have no buffers of their own: each reads the
// last ones at its place, and one that is too slow for them is told how many it lost.
// Its methods may be called from any goroutine.
type events struct {
	run string // tells the numbers of this process from those of another

	mu      sync.Mutex
	last    [keptEvents]event
	next    uint64        // number of the next event; they count from 1
	changed chan struct{} // closed by the next event
	readers int
	most    int // readers
	ended   chan struct{}
	end     func()

	heartbeat, unheard, stalled time.Duration // of each reader
}

func newEvents(run string, most int) *events {
	e := &events{
		run: run, next: 1, most: most, changed: make(chan struct{}), ended: make(chan struct{}),
		heartbeat: heartbeat, unheard: unheard, stalled: stalled,
	}
	e.end = sync.OnceFunc(func() { close(e.ended) })
	return e
}

// readersOf is how many may read events where a listener has so many connections: others
// keep half of them.
func readersOf(conns int) int { return min(mostReaders, conns/2) }

// publish tells all readers.
func (e *events) publish(name string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		return // of values of our own types there are none
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last[e.next%keptEvents] = event{name, data}
	e.next++
	close(e.changed)
	e.changed = make(chan struct{})
}

// from returns the events from a number on, how many before them are lost, and what is
// closed when there are more.
func (e *events) from(n uint64) (some []event, lost uint64, more <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if oldest := e.next - min(e.next-1, keptEvents); n < oldest {
		n, lost = oldest, oldest-n
	}
	for ; n < e.next; n++ {
		some = append(some, e.last[n%keptEvents])
	}
	return some, lost, e.changed
}

// enter counts a reader in, and returns where it begins: behind the event of which it
// has the ID, or with the next one. known is false when that ID is of another process.
func (e *events) enter(lastID string) (n uint64, known, in bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.readers >= e.most {
		return 0, false, false
	}
	e.readers++
	run, number, _ := strings.Cut(lastID, "-")
	if n, err := strconv.ParseUint(number, 10, 64); err == nil && run == e.run && n < e.next {
		return n + 1, true, true
	}
	return e.next, lastID == "", true
}

func (e *events) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readers--
}

// conditionEvent is the data of an event condition.
type conditionEvent struct {
	At   wire.Time `json:"at"`
	Name Condition `json:"name"`
	Is   bool      `json:"is"`
}

// lostEvent is the data of an event lost. Without a number it is not known how many.
type lostEvent struct {
	Events uint64 `json:"events,omitempty"`
}

// routeEvents tells of conditions, and of operations that begin and end.
func (a *api) routeEvents(mux *routes) {
	a.Conditions.watch(func(name Condition, is bool, at time.Time) {
		a.events.publish("condition", conditionEvent{wire.Time(at), name, is})
	})
	a.operations.changed = func(o *operation) { a.events.publish("operation", o.json()) }
	mux.HandleFunc("GET /v1/events", a.serveEvents)
}

// serveEvents answers GET /v1/events.
func (a *api) serveEvents(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // it would never end: what is written goes nowhere
		describeEvents(w)
		w.WriteHeader(http.StatusOK)
		return
	}
	n, known, in := a.events.enter(r.Header.Get("Last-Event-ID"))
	if !in {
		p := problem.New(problem.Busy, "as many read events as may").WithLimit(int64(a.events.most))
		p.RetryAfter = heartbeat
		writeProblem(w, p)
		return
	}
	defer a.events.leave()
	endUnheard(r.Context(), a.events.unheard)
	s := &eventStream{w: w, control: http.NewResponseController(w), stalled: a.events.stalled, run: a.events.run, next: n}
	describeEvents(w)
	s.text(": the events of a sidecar\n\n")
	if !known {
		s.write("lost", []byte("{}"))
	}
	s.id(n - 1) // so that who comes back before the first event is told of it
	s.text("\n")
	beat := time.NewTicker(a.events.heartbeat)
	defer beat.Stop()
	for s.flush() {
		some, lost, more := a.events.from(s.next)
		if len(some) > 0 {
			s.tell(some, lost)
			continue
		}
		select {
		case <-more:
		case <-beat.C:
			s.text(":\n\n")
		case <-r.Context().Done():
			return
		case <-a.events.ended:
			return
		}
	}
}

// describeEvents sets the headers, of which one tells a proxy, as nginx, to keep nothing
// back until it has more.
func describeEvents(w http.ResponseWriter) {
	describe(w, "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
}

// eventStream is an answer that goes on.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stalled time.Duration
	run     string
	next    uint64 // number of the event that it has to tell next
	err     error
}

// tell writes events that follow each other, and before them how many are lost.
func (s *eventStream) tell(some []event, lost uint64) {
	if lost > 0 {
		data, err := json.Marshal(lostEvent{lost})
		s.err = err
		s.write("lost", data)
		s.next += lost
	}
	for _, one := range some {
		s.id(s.next)
		s.write(one.name, one.data)
		s.next++
	}
}

func (s *eventStream) id(n uint64) { s.text(fmt.Sprintf("id: %s-%d\n", s.run, n)) }

func (s *eventStream) write(name string, data []byte) {
	s.text(fmt.Sprintf("event: %s\ndata: %s\n\n", name, data))
}

// text writes, to who takes it within the time that an answer has to move on.
func (s *eventStream) text(text string) {
	if s.err == nil {
		_ = s.control.SetWriteDeadline(time.Now().Add(s.stalled))
		_, s.err = s.w.Write([]byte(text)) //nolint:gosec // numbers, and JSON, with its own type and nosniff
	}
}

// flush reports whether the reader is still there.
func (s *eventStream) flush() bool {
	if s.err == nil {
		s.err = s.control.Flush()
	}
	return s.err == nil
}
