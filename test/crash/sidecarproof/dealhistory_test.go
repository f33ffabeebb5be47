package sidecarproof

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/remora-mq/remora/internal/testscale"
)

// dealResult is what a client was answered, or may have brought about.
type dealResult struct {
	status int
	state  string
	maybe  bool // there was no answer, or one that does not say: it was done, or not
}

// asDone is what a transaction is after a call, and what that is answered. "seen" is a
// delivery of its message, which only a committed one may have.
func asDone(state, what string) (after string, answer dealResult) {
	conflict := dealResult{status: 409}
	switch {
	case what == "seen" && state != "committed":
		return state, dealResult{}
	case what == "prepare" && state == "":
		return "half", dealResult{status: 201, state: "half"}
	case what == "prepare" && state == "rolled_back":
		return state, conflict
	case what == "prepare":
		return state, dealResult{status: 201, state: state}
	case state == "":
		return state, dealResult{status: 404}
	case what == "/commit" && state == "rolled_back", what == "/rollback" && state == "committed":
		return state, conflict
	case what == "/commit":
		state = "committed"
	case what == "/rollback":
		state = "rolled_back"
	}
	return state, dealResult{status: 200, state: state}
}

// dealModel is one transaction, all of whose calls are made one after the other.
var dealModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, input, output any) []any {
		was, what, got := state.(string), input.(string), output.(dealResult) //nolint:forcetypeassert // made below
		after, want := asDone(was, what)
		switch {
		case got.maybe:
			return []any{was, after}
		case got == want:
			return []any{after}
		}
		return nil
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v: %+v", input, output) },
}).ToModel()

// dealHistory is what clients did with transactions, each with a message, by number.
type dealHistory struct {
	began time.Time
	line  *succession

	mu   sync.Mutex
	all  [][]porcupine.Operation
	odd  []string // answers that no call has
	over bool
}

const never = int64(math.MaxInt64)

// note adds a call that has begun then and ended now.
func (h *dealHistory) note(number int, what string, began time.Time, got dealResult, ended int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[number] = append(h.all[number], porcupine.Operation{Input: what, Output: got, Call: int64(began.Sub(h.began)), Return: ended})
}

func (h *dealHistory) now() int64 { return int64(time.Since(h.began)) }

// pick takes one of the newest transactions, or begins one.
func (h *dealHistory) pick(rng *rand.Rand) (number int, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) == 0 || rng.IntN(8) == 0 {
		h.all = append(h.all, nil)
	}
	return len(h.all) - 1 - rng.IntN(min(5, len(h.all))), !h.over
}

var dealCalls = []string{"prepare", "prepare", "/commit", "/commit", "/rollback", "", "", ""}

// play calls until it is over.
func (h *dealHistory) play(rng *rand.Rand) {
	for {
		number, on := h.pick(rng)
		if !on {
			return
		}
		h.call(h.line.client(), number, dealCalls[rng.IntN(len(dealCalls))])
	}
}

// call makes one, and notes it. Of a call that got no answer because its sidecar was
// killed, what it did is done when the next one is there.
func (h *dealHistory) call(c *client, number int, what string) {
	began := time.Now()
	var a dealAnswer
	var err error
	if what == "prepare" {
		a, err = c.prepare([]message{littleSizes.message(number)}, nobody)
	} else {
		a, err = c.deal(dealID(number), what)
	}
	got := dealResult{status: a.Status, state: a.State}
	switch {
	case err != nil:
		h.line.awaitAfter(c)
		h.note(number, what, began, dealResult{maybe: true}, h.now())
	case a.Status == 503 && a.refused():
	case a.Status == 503:
		h.note(number, what, began, dealResult{maybe: true}, never)
	case a.Status >= 400:
		got.state = "" // of a problem
		if a.Code != "transaction-conflict" && a.Code != "unknown-transaction" {
			h.mu.Lock()
			h.odd = append(h.odd, fmt.Sprintf("%s of %d: %+v", what, number, a))
			h.mu.Unlock()
		}
		h.note(number, what, began, got, h.now())
	default:
		h.note(number, what, began, got, h.now())
	}
}

// end ends the playing.
func (h *dealHistory) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
}

// playDeals has clients play while a sidecar is killed so often, and returns what was
// done and what was delivered. With points it kills itself, at each of them in turn.
func playDeals(t *testing.T, p program, kills int, points ...string) (*dealHistory, *application) {
	t.Helper()
	app := newApplication(t, littleSizes)
	how := setup{program: p, dir: filepath.Join(t.TempDir(), "data"), subscriptions: subscribe(app)}
	h := &dealHistory{began: time.Now(), line: &succession{next: make(chan struct{})}}
	seed := testscale.NamedSeed(t)
	rng := rand.New(rand.NewPCG(3, uint64(kills)+seed))
	killer := &dealKiller{t: t, how: how, rng: rng, points: points}
	side := killer.start(0, kills)
	h.line.follow(side.client)
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() { h.play(rand.New(rand.NewPCG(uint64(i), 11+seed))) })
	}
	for n := range kills {
		killer.kill(side)
		side = killer.start(n+1, kills)
		h.line.follow(side.client)
	}
	h.end()
	clients.Wait()
	for number := range h.all {
		h.call(side.client, number, "")
	}
	h.deliver(t, app)
	return h, app
}

// deliver waits until each committed message was delivered, and notes when each was.
func (h *dealHistory) deliver(t *testing.T, app *application) {
	t.Helper()
	deadline := time.After(patience)
	for {
		calls, wrong := app.seen()
		if len(wrong) > 0 {
			t.Fatal(wrong)
		}
		waiting := 0
		for number := range h.all {
			if last := h.all[number][len(h.all[number])-1]; last.Output == (dealResult{status: 200, state: "committed"}) && len(calls[number]) == 0 {
				waiting++
			}
		}
		if waiting == 0 {
			for number, all := range calls {
				for _, one := range all {
					h.note(number, "seen", one.at, dealResult{status: 200, state: "committed"}, int64(one.at.Sub(h.began)))
				}
			}
			return
		}
		select {
		case <-app.news:
		case <-deadline:
			t.Fatalf("%d committed messages were not delivered", waiting)
		}
	}
}

// wrong are the transactions whose calls cannot have been made one after the other.
func (h *dealHistory) wrong() (all []string) {
	for number, ops := range h.all {
		if porcupine.CheckOperationsTimeout(dealModel, ops, time.Minute) == porcupine.Ok {
			continue
		}
		slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
		var text strings.Builder
		for _, op := range ops {
			fmt.Fprintf(&text, "\n\t%v to %v: %s", time.Duration(op.Call), time.Duration(op.Return), dealModel.DescribeOperation(op.Input, op.Output))
		}
		all = append(all, dealID(number)+text.String())
	}
	return all
}

// TestTransactionsAreLinearizable: whatever clients do at once, and however often the
// sidecar is killed, each transaction is as if one call had followed the other, in an
// order that agrees with the clock; and only messages of committed ones arrive, each.
func TestTransactionsAreLinearizable(t *testing.T) {
	kills := testscale.Between(6, 1000)
	h, app := playDeals(t, shipped, kills)
	for _, one := range append(h.wrong(), h.odd...) {
		t.Error(one)
	}
	calls, maybe := 0, 0
	states := map[string]int{}
	for _, ops := range h.all {
		calls += len(ops)
		for _, op := range ops {
			got := op.Output.(dealResult) //nolint:forcetypeassert // it is
			states[got.state]++
			if got.maybe {
				maybe++
			}
		}
	}
	t.Logf("%d kills: %d calls for %d transactions, %d of them without an answer; %d messages arrived; answers %v", kills, calls, len(h.all), maybe, app.ids(), states)
	if len(h.all) < 20*kills || maybe < kills || states["committed"] < 20*kills || states["rolled_back"] < 20*kills {
		t.Error("too little was done between the kills")
	}
}

// TestDecisionAnsweredBeforeItIsWritten: a spool that answers a decision a moment
// before it writes it forgets it with a kill; a later call then does not agree.
func TestDecisionAnsweredBeforeItIsWritten(t *testing.T) {
	broken := defective(t, "decides later")
	for range 5 {
		h, _ := playDeals(t, broken, 3)
		if wrong := h.wrong(); len(wrong) > 0 {
			t.Log(wrong[0])
			return
		}
	}
	t.Error("no history is said to be wrong")
}
