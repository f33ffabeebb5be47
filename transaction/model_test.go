package transaction_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// TestModelOfHalfMessages does random things to transactions of mode broker, through
// kills and reopens, with a broker that loses replies, commits, and the end of its log,
// drops half messages, asks for them, and is away. Beside it goes what each client was
// told: that holds after each step, what consumers get is committed, and in the end
// each that is committed has come, once. It begins with one of each fault (meetEach), so
// that none is missed by chance.
func TestModelOfHalfMessages(t *testing.T) {
	app := &modelApplication{}
	server := newApplication(t, app.answer)
	did := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		m := newHalfModel(t, app, server, did)
		defer m.end()
		m.meetEach(t)
		t.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"prepare": m.prepareSome, "prepare more": m.prepareSome, "prepare again": m.prepareAgain, "prepare and die": m.prepareAndDie,
			"decide": m.decideSome, "decide and die": m.decideAndDie, "the application decides": m.applicationDecides,
			"the broker is away, or back": m.outage, "lose the reply to the next end": m.loseEnd,
			"ask": m.askSome, "ask more": m.askSome, "ask for the last time": m.askLast, "ask for a stranger": m.askStranger,
			"lose a commit": m.loseCommit, "drop": m.dropSome, "lose the end of the log": m.loseTail,
			"forward": m.forward, "confirmed": m.awaitEnd, "kill": m.kill, "reopen": m.reopen,
		})
		m.settle()
	})
	for _, fault := range modelFaults {
		if did[fault] == 0 {
			t.Errorf("%s: never; %v", fault, did)
		}
	}
}

// modelApplication answers check-backs.
type modelApplication struct {
	mu   sync.Mutex
	says map[string]spool.TransactionState
}

func (a *modelApplication) answer(w http.ResponseWriter, req *http.Request) {
	switch a.said(req.Header.Get("MQ-Transaction-Id")) {
	case spool.TransactionCommitted:
		says(200, "COMMIT")(w, req)
	case spool.TransactionRolledBack:
		says(200, "ROLLBACK")(w, req)
	default:
		says(404, "no such order")(w, req)
	}
}

func (a *modelApplication) said(id string) spool.TransactionState {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.says[id]
}

// modelHalf is what the model knows of a transaction.
type modelHalf struct {
	id      string
	message message.ID
	state   spool.TransactionState
	sent    bool // as a normal message
}

type halfModel struct {
	*rig

	base     string // of the directories, one for each process
	lives    int
	answers  *modelApplication
	broker   *halfBroker
	link     *connection
	keeper   *transaction.Keeper
	all      []*modelHalf
	away     bool
	lost     map[string]bool      // transactions whose commit the broker has lost, and not made again
	dropped  map[broker.Half]bool // under the broker's mutex
	stranger map[broker.Half]bool // that no spool knows
	did      map[string]int

	mu    sync.Mutex
	wrong []string
}

func newHalfModel(t *rapid.T, app *modelApplication, server *application, did map[string]int) *halfModel {
	base, err := os.MkdirTemp("", "half-model")
	if err != nil {
		t.Fatal(err)
	}
	app.mu.Lock()
	app.says = map[string]spool.TransactionState{}
	app.mu.Unlock()
	m := &halfModel{
		rig:  &rig{t: t, dir: filepath.Join(base, "0"), o: transaction.Options{Allowed: transaction.Allowed{server.URL}, Rate: 1e6}, app: server},
		base: base, answers: app, broker: newHalfBroker(), did: did,
		lost: map[string]bool{}, dropped: map[broker.Half]bool{}, stranger: map[broker.Half]bool{},
	}
	m.broker.look = func(h broker.Half) (bool, error) { return m.dropped[h], nil }
	m.start()
	return m
}

func (m *halfModel) start() {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		m.t.Fatal(err)
	}
	m.open()
	s := m.Spool
	m.link = &connection{halfBroker: m.broker, gone: make(chan struct{}), ending: func(p message.HalfPlace, commit bool) { m.judge(s, p, commit) }}
	m.keeper = m.keepOn(hasty{s}, m.link)
}

func (m *halfModel) end() {
	m.close()
	if err := os.RemoveAll(m.base); err != nil {
		m.t.Error(err)
	}
}

// close ends the process, or what is left of it.
func (m *halfModel) close() {
	close(m.link.gone)
	m.rig.close()
}

func (m *halfModel) reopen(*rapid.T) {
	m.close()
	m.start()
}

// kill ends the process as kill -9 does: a copy of its files, as they are at a moment
// after which it said nothing, is all that the next one has.
func (m *halfModel) kill(*rapid.T) { m.die(func() {}) }

// die kills the process at some moment of a call.
func (m *halfModel) die(call func()) {
	var calling sync.WaitGroup
	calling.Go(call)
	m.link.cut()
	m.lives++
	next := filepath.Join(m.base, fmt.Sprint(m.lives))
	m.copyStill(m.dir, next)
	m.close()
	calling.Wait()
	m.dir = next
	m.start()
	m.did["killed"]++
}

// copyStill copies a directory, again if it changed meanwhile.
func (m *halfModel) copyStill(from, to string) {
	for range 50 {
		before := m.listing(from)
		err := os.CopyFS(to, os.DirFS(from))
		if err == nil && m.listing(from) == before {
			return
		}
		if err := os.RemoveAll(to); err != nil {
			m.t.Fatal(err)
		}
	}
	m.t.Fatal("the directory does not come to rest")
}

func (m *halfModel) listing(dir string) (all string) {
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := e.Info(); err == nil && !e.IsDir() {
			all += fmt.Sprintln(path, info.Size(), info.ModTime().UnixNano())
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return all
}

// judge says what is wrong with an end that the broker is told.
func (m *halfModel) judge(s *spool.Spool, p message.HalfPlace, commit bool) {
	m.broker.mu.Lock()
	h, there := m.broker.half[p.LogOffset]
	m.broker.mu.Unlock()
	if !there {
		return
	}
	t, err := s.Transaction(context.Background(), h.Transaction)
	switch {
	case errors.Is(err, spool.ErrClosed):
	case err != nil:
		m.complain("%+v is ended (commit %t): %v", h, commit, err)
	case commit && t.State != spool.TransactionCommitted:
		m.complain("%+v is committed, and its transaction is %s", h, t.State)
	case !commit && t.State != spool.TransactionRolledBack && m.carries(h, &t) && !m.elsewhere(s, &t):
		m.complain("%+v is rolled back, and its transaction is %s, with %+v", h, t.State, t.Half)
	}
}

// carries reports whether a half message stands, or may come to: not one that is to
// replace another, once there is a decision.
func (*halfModel) carries(h broker.Half, t *spool.Transaction) bool {
	return h.Number == t.Half.Number || h.Number > t.Half.Number && !t.State.Decided()
}

// elsewhere reports whether the message of t comes to its consumers without another end:
// it is sent, or they have it.
func (m *halfModel) elsewhere(s *spool.Spool, t *spool.Transaction) bool {
	r, err := s.Receipt(context.Background(), t.Messages[0])
	if t.State != spool.TransactionCommitted || err != nil || r.State == message.StateHalf {
		return false
	}
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	return r.State != message.StateConfirmed || r.Confirmation.Flushed() || slices.Contains(m.broker.delivered, t.ID)
}

func (m *halfModel) complain(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong = append(m.wrong, fmt.Sprintf(format, args...))
}

// times is how often a message came to its consumers, as far as the broker has it still.
func (m *halfModel) times(x *modelHalf) (n int) {
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	for _, id := range m.broker.delivered {
		if id == x.id {
			n++
		}
	}
	if x.sent {
		n++
	}
	return n
}

// check compares what stands with what was told.
func (m *halfModel) check(t *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.wrong {
		t.Error(one)
	}
	for _, x := range m.all {
		n := m.times(x)
		got, err := m.Transaction(t.Context(), x.id)
		if err != nil || got.Messages[0] != x.message {
			t.Fatalf("transaction %s: %+v, %v", x.id, got, err)
		}
		m.follow(t, x, got.State)
		if n > 1 || n == 1 && x.state != spool.TransactionCommitted {
			t.Fatalf("%s is %s, and came %d times", x.id, x.state, n)
		}
		if n == 1 {
			delete(m.lost, x.id)
		}
	}
}

// follow takes a state for what stands, if it was told, or answered by the application.
func (m *halfModel) follow(t *rapid.T, x *modelHalf, is spool.TransactionState) {
	if x.state != is && (x.state.Decided() || is != m.answers.said(x.id)) {
		t.Fatalf("%s is %s, and was %s; the application says %s", x.id, is, x.state, m.answers.said(x.id))
	}
	x.state = is
}

// some draws one of the transactions that are as is says; nil: none is.
func (m *halfModel) some(t *rapid.T, is func(*modelHalf) bool) *modelHalf {
	var all []*modelHalf
	for _, x := range m.all {
		if is(x) {
			all = append(all, x)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return rapid.SampledFrom(all).Draw(t, "transaction")
}

func anyHalf(*modelHalf) bool    { return true }
func openHalf(x *modelHalf) bool { return !x.state.Decided() }

// offsets are those of the half messages that the broker may ask for.
func (m *halfModel) offsets() []int64 {
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	return slices.Sorted(maps.Keys(m.broker.waiting))
}

// settle has all come to its end, and judges.
func (m *halfModel) settle() {
	t := m.t.(*rapid.T) //nolint:forcetypeassert // newHalfModel's
	m.setAway(false)
	m.reopen(t)
	for _, x := range m.all {
		if openHalf(x) {
			m.decide(t, x, rapid.SampledFrom(decisions).Draw(t, "last decision"))
		}
	}
	for _, x := range m.all {
		if got := m.await(x.id, endedOrLocal); got.Half.Number > 1 {
			m.did["replaced"]++
		}
	}
	m.forward(t)
	for _, at := range m.offsets() {
		m.ask(t, at, 1)
	}
	m.check(t)
	for _, x := range m.all {
		if n := m.times(x); (n == 1) != (x.state == spool.TransactionCommitted) {
			t.Fatalf("%s is %s, and came %d times", x.id, x.state, n)
		}
	}
}

var decisions = []spool.TransactionState{spool.TransactionCommitted, spool.TransactionRolledBack}

func endedOrLocal(t spool.Transaction) bool {
	return t.State.Decided() && (t.Half == nil || t.Half.Ended)
}

// forward sends all that became normal messages, in whatever order that was.
func (m *halfModel) forward(t *rapid.T) {
	for slices.ContainsFunc(m.all, func(x *modelHalf) bool {
		r, err := m.Receipt(t.Context(), x.message)
		return err == nil && r.State == message.StatePending
	}) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		leases, err := m.Lease(ctx, "t", spool.LeaseOptions{MaxMessages: 1})
		cancel()
		if err != nil {
			t.Fatalf("some are pending: %v", err)
		}
		for _, y := range m.all {
			if y.message == leases[0].ID {
				y.sent = true
			}
		}
		m.Confirm(leases, []message.Confirmation{{MessageID: leases[0].ID.String(), Queue: "b/0"}})
		m.did["sent as normal messages"]++
	}
}
