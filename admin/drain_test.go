package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// leftForEver is what never gets less.
func leftForEver() (Left, bool) {
	n := LeftCounts{Waiting: 2, Dead: 1}
	return Left{LeftCounts: n, Topics: []TopicLeft{{"orders", n, "parked: TOPIC_NOT_EXIST; dead letters"}}}, true
}

// drainOf decodes an answer.
func drainOf(t *testing.T, a answer) (d struct {
	ID, Kind, State, Detail string
	Deadline                string `json:"deadline_at"`
	All, Drained            bool
	Left                    Left
},
) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || a.status >= 300 {
		t.Fatalf("%d %s (%v)", a.status, a.body, err)
	}
	return d
}

// changing is a spool of which something is left as long as a test says so.
type changing struct {
	left   atomic.Pointer[Left] // nil: it is not open yet
	looked chan struct{}        // is received from for each look
}

func (c *changing) look() (Left, bool) {
	select {
	case c.looked <- struct{}{}:
	default:
	}
	if l := c.left.Load(); l != nil {
		return *l, true
	}
	return Left{}, false
}

// A drain tells what is left while it runs, and is done when that is nothing, whatever
// waits for something else; one that waits for all goes on.
func TestDrainWaitsUntilNothingIsLeft(t *testing.T) {
	c := &changing{looked: make(chan struct{})}
	addr := serve(t, New(Options{}, Sources{Left: c.look}))
	begun := post(t, addr, "/v1/drain", "")
	op, all := drainOf(t, begun), drainOf(t, post(t, addr, "/v1/drain", `{"all":true}`))
	if begun.status != http.StatusAccepted || begun.header.Get("Location") != "/v1/operations/"+op.ID || op.Kind != "drain" || op.State != "running" || op.All || op.Deadline != "" || !all.All {
		t.Errorf("begun as %d %v %s", begun.status, begun.header, begun.body)
	}
	for range 4 { // they look, while the spool is not open
		<-c.looked
	}
	c.left.Store(&Left{LeftCounts: LeftCounts{Waiting: 1}, Topics: []TopicLeft{{"a", LeftCounts{Waiting: 1}, "on its way"}}})
	waits := follow(t, addr, op.ID, "waiting for one", func(a answer) bool { return strings.Contains(a.body, `"left":{"waiting":1,`) })
	if d := drainOf(t, waits); d.State != "running" || d.Drained || len(d.Left.Topics) != 1 || d.Left.Topics[0].Why != "on its way" {
		t.Errorf("with one that waits: %s", waits.body)
	}
	c.left.Store(&Left{Ending: 1})
	follow(t, addr, op.ID, "waiting for a decision to be told", func(a answer) bool {
		return strings.Contains(a.body, `"state":"running"`) && strings.Contains(a.body, `"ending":1,`)
	})
	c.left.Store(&Left{LeftCounts: LeftCounts{Delayed: 1, Half: 1, Held: 1, Dead: 1}})
	done := follow(t, addr, op.ID, "done", ended)
	if d := drainOf(t, done); d.State != "done" || !d.Drained || d.Detail != "" || d.Left.Delayed != 1 || d.Left.Dead != 1 {
		t.Errorf("with nothing that waits for the broker: %s", done.body)
	}
	for _, one := range []LeftCounts{{Delayed: 1}, {Half: 1}, {Held: 1}, {Dead: 1}} {
		if (&Left{LeftCounts: one}).drained(true) || !(&Left{LeftCounts: one}).drained(false) {
			t.Errorf("%+v", one)
		}
	}
	if d := drainOf(t, get(t, "GET", addr, "/v1/operations/"+all.ID)); d.State != "running" {
		t.Errorf("the one for all is %s", d.State)
	}
	c.left.Store(&Left{})
	if d := drainOf(t, follow(t, addr, all.ID, "done", ended)); d.State != "done" || !d.Drained {
		t.Errorf("with nothing left: %+v", d)
	}
}

// A drain whose time is over says what is left; so does one that is told to stop.
func TestDrainEndsWithItsTime(t *testing.T) {
	addr := serve(t, New(Options{}, Sources{Left: leftForEver}))
	op := drainOf(t, post(t, addr, "/v1/drain", `{"timeout":"10ms"}`))
	over := follow(t, addr, op.ID, "over", ended)
	if d := drainOf(t, over); op.Deadline == "" || d.State != "stopped" || d.Drained || !strings.Contains(d.Detail, "time is over") || d.Left.Waiting != 2 || len(d.Left.Topics) != 1 {
		t.Errorf("ended as %s", over.body)
	}
	starting := serve(t, New(Options{}, Sources{Left: (&changing{}).look}))
	over = follow(t, starting, drainOf(t, post(t, starting, "/v1/drain", `{"timeout":"10ms"}`)).ID, "over", ended)
	if d := drainOf(t, over); d.State != "stopped" || d.Drained || !strings.Contains(d.Detail, "not known what is left") {
		t.Errorf("of a spool that is not open it ended as %s", over.body)
	}
	op = drainOf(t, post(t, addr, "/v1/drain", "{}"))
	if d := drainOf(t, post(t, addr, "/v1/operations/"+op.ID+"/stop", "")); d.State != "stopped" || d.Drained || d.Left.Topics[0].Topic != "orders" {
		t.Errorf("stopped as %+v", d)
	}
}

// A drain may wait for what a redrive brings, and stands in the way of none; there is
// none where nothing is forwarded.
func TestDrainsRunBesideARedrive(t *testing.T) {
	s, _ := lettersOf(t, 1)
	side := New(Options{}, Sources{Spool: func() Spool { return s }, Left: leftForEver, Forwards: true})
	addr := serve(t, side)
	for range mostDrains {
		drainOf(t, post(t, addr, "/v1/drain", ""))
	}
	if a := post(t, addr, "/v1/drain", ""); a.status != http.StatusConflict || !strings.Contains(a.body, "operation-running") {
		t.Errorf("one too many: %d %s", a.status, a.body)
	}
	operationOf(t, post(t, addr, "/v1/dead-letters/redrive", `{"filter":{"all":true}}`))
	if a := post(t, addr, "/v1/dead-letters/discard", `{"filter":{"all":true}}`); a.status != http.StatusConflict {
		t.Errorf("a discard beside a redrive: %d %s", a.status, a.body)
	}
	if err := side.EndOperations(t.Context()); err != nil {
		t.Error(err)
	}
	if a := post(t, addr, "/v1/drain", ""); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `"draining"`) {
		t.Errorf("while it stops: %d %s", a.status, a.body)
	}
	if a := post(t, serve(t, New(Options{}, Sources{})), "/v1/drain", ""); a.status != http.StatusNotFound {
		t.Errorf("where nothing is forwarded: %d %s", a.status, a.body)
	}
}

// However many drains there are, and whenever they began, they look as often as one does.
func TestDrainsShareTheirLooks(t *testing.T) {
	for _, n := range []int{1, mostDrains} {
		synctest.Test(t, func(t *testing.T) {
			counted := 0
			l := &looks{left: func() (Left, bool) {
				counted++ // never by two at a time
				return leftForEver()
			}}
			all := make(chan error, n)
			for range n {
				time.Sleep(7 * time.Millisecond)
				d := &drain{looks: l, seen: time.Now(), deadline: time.Now().Add(10 * time.Second)}
				go func() { all <- d.Do(t.Context()) }()
			}
			for range n {
				if err := <-all; !errors.Is(err, errTimeOver) {
					t.Error(err)
				}
			}
			if most := int(10*time.Second/lookAgain) + 2*n; counted > most || counted < int(10*time.Second/lookAgain) {
				t.Errorf("%d drains have looked %d times, want at most %d", n, counted, most)
			}
		})
	}
}

// Of its own looks each is a new one: a drain that is alone does not wait for two.
func TestADrainLooksEachTime(t *testing.T) {
	counted := 0
	d := &drain{seen: time.Now(), looks: &looks{left: func() (Left, bool) {
		counted++
		return leftForEver()
	}}}
	for range 3 {
		time.Sleep(time.Microsecond) // a clock that has moved, as it does between two looks
		d.look()
	}
	if counted != 3 {
		t.Errorf("it has looked %d times", counted)
	}
}

// A drain does not end by what was seen before it began.
func TestDrainsLookAfterTheyBegan(t *testing.T) {
	c := &changing{}
	c.left.Store(&Left{})
	addr := serve(t, New(Options{}, Sources{Left: c.look}))
	if d := drainOf(t, post(t, addr, "/v1/drain", "")); !d.Drained {
		t.Errorf("of nothing: %+v", d)
	}
	c.left.Store(&Left{LeftCounts: LeftCounts{Waiting: 1}})
	d := drainOf(t, post(t, addr, "/v1/drain", ""))
	if d.Drained || d.Left.Waiting != 1 {
		t.Errorf("of one that came just now: %+v", d)
	}
	c.left.Store(&Left{})
	follow(t, addr, d.ID, "done", ended)
}

// Of the operations that have ended the oldest is forgotten, and none that runs.
func TestRunningOperationsAreNotForgotten(t *testing.T) {
	side := New(Options{}, Sources{Left: leftForEver})
	addr := serve(t, side)
	first := drainOf(t, post(t, addr, "/v1/drain", "")).ID
	for range keptOperations + 1 {
		op := drainOf(t, post(t, addr, "/v1/drain", "{}"))
		post(t, addr, "/v1/operations/"+op.ID+"/stop", "")
	}
	if n := len(side.operations.list()); n != keptOperations || side.operations.find(first) == nil {
		t.Errorf("%d are known, the one that runs: %v", n, side.operations.find(first))
	}
	if err := side.EndOperations(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDrainWantsATime(t *testing.T) {
	addr := serve(t, New(Options{}, Sources{Left: leftForEver}))
	for _, body := range []string{`{"timeout":"soon"}`, `{"timeout":"-1s"}`, `{"timeout":"0s"}`, `{"timeout":5}`, `{"al":true}`, `[]`, `{}{}`} {
		if a := post(t, addr, "/v1/drain", body); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
}
