package transaction_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Broker is what children call: a halfBroker that loses replies and commits, and asks
// again and again for what it has.
type Broker struct {
	*halfBroker

	rng       *rand.Rand                // under the halfBroker's mutex, as what follows
	seen      map[string][][2]time.Time // between when the message of a transaction came to consumers
	lost      int                       // commits
	asked     int
	living    bool // else no question is asked
	faultless bool
	more      *sync.Cond
}

func newBroker(seed uint64) *Broker {
	b := &Broker{halfBroker: newHalfBroker(), rng: rand.New(rand.NewPCG(17, seed)), seen: map[string][][2]time.Time{}}
	b.more = sync.NewCond(&b.mu)
	return b
}

// lose reports whether the reply to a call is lost: one in ten.
func (b *Broker) lose() (is bool) {
	b.set(func() { is = !b.faultless && b.rng.IntN(10) == 0 })
	return is
}

// Prepare is broker.Halves' own.
func (b *Broker) Prepare(q Question, a *Answer) (err error) {
	lose := b.lose()
	if a.Place, err = b.halfBroker.Prepare(context.Background(), &message.Message{Topic: q.Topic, ID: q.ID}, q.Half); err != nil {
		return err
	}
	a.Failed = lose
	b.more.Broadcast()
	return nil
}

// End is broker.Halves' own.
func (b *Broker) End(q Question, a *Answer) error {
	lose, began := b.lose(), time.Now()
	err := b.halfBroker.End(context.Background(), q.Place, q.Commit)
	a.NoHalf, a.Failed = err == broker.ErrNoHalf, lose //nolint:errorlint // halfBroker's own
	if q.Commit && err == nil {
		b.set(func() {
			id := b.half[q.Place.LogOffset].Transaction
			b.seen[id] = append(b.seen[id], [2]time.Time{began, time.Now()})
		})
	}
	return nil
}

// Committed is broker.Halves' own.
func (b *Broker) Committed(q Question, a *Answer) (err error) {
	a.Is, err = b.halfBroker.Committed(context.Background(), q.Place, time.Time{})
	return err
}

// There is broker.Halves' own.
func (b *Broker) There(q Question, a *Answer) (err error) {
	a.Half, err = b.halfBroker.There(context.Background(), q.Place)
	return err
}

// Next is the next question, for any of the half messages that wait. Before it the broker
// may lose a commit, for which it asks again.
func (b *Broker) Next(_ Question, c *broker.HalfCheck) error {
	b.mu.Lock()
	if !b.faultless && len(b.delivered) > 0 && b.rng.IntN(20) == 0 {
		id := b.delivered[b.rng.IntN(len(b.delivered))]
		b.delivered = slices.DeleteFunc(b.delivered, func(one string) bool { return one == id })
		b.waiting[b.committed[id]] = 0
		b.lost++
	}
	for b.living && len(b.waiting) == 0 {
		b.more.Wait()
	}
	if !b.living {
		b.mu.Unlock()
		return io.EOF
	}
	var all []int64
	for at := range b.waiting {
		all = append(all, at)
	}
	slices.Sort(all)
	at := all[b.rng.IntN(len(all))]
	h, times := b.half[at], b.waiting[at]+4 // three questions are enough for it to be replaced
	delete(b.waiting, at)
	b.asked++
	id, err := message.ParseID(b.ids[h.Transaction])
	b.mu.Unlock()
	if err != nil {
		return err
	}
	*c = b.question(id, h, times)
	return nil
}

func (b *Broker) live(is bool) {
	b.set(func() { b.living = is })
	b.more.Broadcast()
}

// life is a child, and the connections to it.
type life struct {
	*rpc.Client

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone, and no call of it goes on
}

// parent is the other end of the children, which follow each other.
type parent struct {
	t      *testing.T
	dir    string
	broker *Broker
	server *rpc.Server

	mu   sync.Mutex
	now  *life
	next chan struct{} // closed when there is another
}

func newParent(t *testing.T, seed uint64) *parent {
	t.Helper()
	p := &parent{t: t, dir: t.TempDir(), broker: newBroker(seed), server: rpc.NewServer(), next: make(chan struct{})}
	if err := p.server.RegisterName("Broker", p.broker); err != nil {
		t.Fatal(err)
	}
	return p
}

// pair is a connection, and the file that a child has of it.
func (p *parent) pair() (net.Conn, *os.File) {
	p.t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	ours := os.NewFile(uintptr(fds[0]), "ours")
	c, err := net.FileConn(ours)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = ours.Close() // c has its own
	return c, os.NewFile(uintptr(fds[1]), "theirs")
}

// start begins a child that ends itself at a point, and reports whether it began before.
func (p *parent) start(point string, nth int) (l *life, began bool) {
	p.t.Helper()
	broker, theirBroker := p.pair()
	clients, theirClients := p.pair()
	l = &life{Client: rpc.NewClient(clients), cmd: exec.Command(os.Args[0], "-test.run=^$"), ended: make(chan struct{})}
	l.cmd.Env = append(os.Environ(), childDir+"="+p.dir, childPoint+"="+point, fmt.Sprint(childNth, "=", nth))
	l.cmd.Stderr, l.cmd.ExtraFiles = os.Stderr, []*os.File{theirBroker, theirClients}
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.broker.live(true)
	if err := l.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	_, _ = theirBroker.Close(), theirClients.Close()
	var serving sync.WaitGroup
	serving.Go(func() { p.server.ServeConn(broker) })
	go func() {
		defer close(l.ended)
		_ = l.cmd.Wait() // killed, as a rule
		p.broker.live(false)
		serving.Wait()
	}()
	p.t.Cleanup(func() {
		_ = l.cmd.Process.Kill()
		<-l.ended
		_ = l.Close()
	})
	return l, l.Call("Child.Call", Ask{What: "nothing"}, &Told{}) == nil
}

// follow has the clients go on with a child.
func (p *parent) follow(l *life) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = l
	close(p.next)
	p.next = make(chan struct{})
}

// await waits until there is another child than l.
func (p *parent) await(l *life) {
	p.mu.Lock()
	now, next := p.now, p.next
	p.mu.Unlock()
	if now == l {
		<-next
	}
}

// call makes a call of the child of now. Where it is not answered, what it did is done
// when the next one is there, for which it waits.
func (p *parent) call(what, id string) (told Told, answered bool) {
	p.mu.Lock()
	l := p.now
	p.mu.Unlock()
	if err := l.Call("Child.Call", Ask{what, id}, &told); err != nil {
		if _, answer := err.(rpc.ServerError); answer { //nolint:errorlint // as it is documented
			p.t.Errorf("%s of %s: %v", what, id, err)
			return told, true
		}
		p.await(l)
		return told, false
	}
	return told, true
}

// killHistory is what clients did with transactions, each by its ID.
type killHistory struct {
	*parent

	began time.Time
	over  chan struct{}

	mu  sync.Mutex
	ids []string // that were prepared, to be decided by anybody
	all map[string][]porcupine.Operation
}

func (h *killHistory) since(at time.Time) int64 { return int64(at.Sub(h.began)) }

func (h *killHistory) note(id, what string, began, ended int64, output any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[id] = append(h.all[id], porcupine.Operation{Input: what, Output: output, Call: began, Return: ended})
}

// play begins transactions, and does with those that are known to be prepared what others
// may do, too, until it is over.
func (h *killHistory) play(rng *rand.Rand, name string) {
	for n := 0; ; n++ {
		select {
		case <-h.over:
			return
		default:
		}
		h.begin(fmt.Sprint(name, "-", n))
		for range 8 { // or more wait for a decision than are begun
			h.mu.Lock()
			id := ""
			if len(h.ids) > 0 {
				id = h.ids[len(h.ids)-1-rng.IntN(min(8, len(h.ids)))]
			}
			h.mu.Unlock()
			if id != "" {
				h.act(id, []string{"commit", "rollback", "look", "prepare"}[rng.IntN(4)])
			}
		}
	}
}

// begin prepares one until that is answered: others know of it then.
func (h *killHistory) begin(id string) {
	began := time.Now()
	for {
		told, answered := h.call("prepare", id)
		if !answered {
			continue
		}
		h.note(id, "begin", h.since(began), h.since(time.Now()), told)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ids = append(h.ids, id)
		return
	}
}

// act makes a call, and notes it.
func (h *killHistory) act(id, what string) {
	began := time.Now()
	told, answered := h.call(what, id)
	told.Ended = false
	var output any
	if answered {
		output = told
	}
	h.note(id, what, h.since(began), h.since(time.Now()), output)
}

// halfCalls is one transaction of mode broker, all of whose calls are made one after the
// other. What it is told of is what it is, but for a prepare that the broker did not take.
var halfCalls = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{spool.TransactionState(0)} },
	Step: func(state, input, output any) []any {
		was, what := state.(spool.TransactionState), input.(string) //nolint:forcetypeassert // made above
		told, answered := output.(Told)
		if what == "begin" {
			return []any{told.State}
		}
		is, refused := afterCall(was, what)
		switch {
		case !answered:
			return []any{was, is}
		case told == Told{State: is, Refused: refused}:
			return []any{is}
		}
		return nil
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v: %+v", input, output) },
}).ToModel()

// afterCall is what a transaction is after a call, and whether that is refused. "seen" is
// a delivery of its message, which only a committed one may have.
func afterCall(was spool.TransactionState, what string) (is spool.TransactionState, refused bool) {
	asked := map[string]spool.TransactionState{"commit": spool.TransactionCommitted, "rollback": spool.TransactionRolledBack}[what]
	switch {
	case what == "seen":
		return was, was != spool.TransactionCommitted
	case what == "prepare":
		return was, was == spool.TransactionRolledBack
	case what == "look", was == asked:
		return was, false
	case was.Decided():
		return was, true
	}
	return asked, false
}

// TestKillsBetweenABrokerAndASpool: wherever the process ends between a broker's half
// message and what is noted of it, and whatever replies and commits that loses, each
// transaction is as if one call had followed the other, in an order that agrees with the
// clock; each committed message comes, once, and no other does. A real broker does the
// same with fewer kills (test/crash/sidecarproof.TestKillsAtEachStepOfAHalfMessage).
func TestKillsBetweenABrokerAndASpool(t *testing.T) {
	kills, seed := testscale.Between(200, 5000), testscale.PrintedSeed(t)
	if underRace {
		kills = 2 * len(killPoints)
	}
	h := &killHistory{parent: newParent(t, seed), began: time.Now(), over: make(chan struct{}), all: map[string][]porcupine.Operation{}}
	rng := rand.New(rand.NewPCG(19, seed))
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			h.await(nil)
			h.play(rand.New(rand.NewPCG(uint64(i), 23+seed)), fmt.Sprint("client-", i))
		})
	}
	early := 0
	for n := range kills {
		point := killPoints[n%len(killPoints)]
		l, began := h.start(point, 1+rng.IntN(nthOf(point)))
		if began {
			h.follow(l)
		} else {
			early++
		}
		select {
		case <-l.ended:
		case <-time.After(3 * time.Minute):
			t.Fatalf("nothing came to %q", point)
		}
	}
	l, began := h.start("", 1)
	if !began {
		t.Fatal("the last one did not begin")
	}
	close(h.over)
	h.follow(l)
	clients.Wait()
	h.settle()
	h.judge()
	t.Logf("%d kills at %d points, %d before anybody called; %d questions, %d commits lost", kills, len(killPoints), early, h.broker.asked, h.broker.lost)
}

// nthOf is how often children come to a point before it is the last one, at most.
func nthOf(point string) int {
	if strings.HasPrefix(point, "renewal") {
		return 2
	}
	return 10
}

// settle has all decided, told to the broker, and asked for.
func (h *killHistory) settle() {
	h.t.Helper()
	h.broker.set(func() { h.broker.faultless = true })
	for n, id := range h.ids {
		h.act(id, []string{"commit", "rollback"}[n%2])
		h.act(id, "look")
	}
	for _, id := range h.ids {
		h.until(id, func() bool {
			told, _ := h.call("look", id)
			return told.Ended
		})
	}
	h.until("the broker", func() bool {
		h.broker.mu.Lock()
		defer h.broker.mu.Unlock()
		return len(h.broker.waiting) == 0
	})
}

func (h *killHistory) until(what string, is func() bool) {
	h.t.Helper()
	for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			h.t.Fatalf("%s does not come to an end", what)
		}
	}
}

// judge compares what came with what was told, and looks for an order of the calls.
func (h *killHistory) judge() {
	h.t.Helper()
	came, count := map[string]int{}, map[spool.TransactionState]int{}
	for _, id := range h.broker.delivered {
		came[id]++
	}
	for _, id := range h.ids {
		for _, at := range h.broker.seen[id] {
			h.note(id, "seen", h.since(at[0]), h.since(at[1]), Told{State: spool.TransactionCommitted})
		}
		ops := h.all[id]
		told, _ := h.call("look", id)
		count[told.State]++
		if want := map[bool]int{true: 1}[told.State == spool.TransactionCommitted]; came[id] != want {
			h.t.Errorf("%s is %s, and came %d times", id, told.State, came[id])
		}
		if porcupine.CheckOperationsTimeout(halfCalls, ops, time.Minute) != porcupine.Ok {
			h.t.Errorf("%s is as if no call had followed the other: %s", id, describe(ops))
		}
	}
	for id := range came {
		if !slices.Contains(h.ids, id) {
			h.t.Errorf("%q came, and nobody prepared it", id)
		}
	}
	h.t.Logf("%d transactions: %v", len(h.ids), count)
	if count[spool.TransactionCommitted] < 20 || count[spool.TransactionRolledBack] < 20 || !underRace && h.broker.lost == 0 {
		h.t.Error("too little was done between the kills")
	}
}

func describe(ops []porcupine.Operation) string {
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var text strings.Builder
	for _, op := range ops {
		fmt.Fprintf(&text, "\n\t%v to %v: %s", time.Duration(op.Call), time.Duration(op.Return), halfCalls.DescribeOperation(op.Input, op.Output))
	}
	return text.String()
}
