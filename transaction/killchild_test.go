package transaction_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// A process of its own has a spool and a Keeper, and ends itself with kill -9 where they
// come to a point. Its broker and its clients are in the test, at the other ends of two
// connections.

const (
	childDir   = "REMORA_TEST_KEEPER" // where the spool is: this process is a child
	childPoint = "REMORA_TEST_DIE_AT"
	childNth   = "REMORA_TEST_DIE_NTH"
)

// killPoints are the steps by which a half message gets to a broker and ends there,
// each the moment before what it names.
var killPoints = []string{
	"half: sent", "half: noted", "half: answered",
	"decision: made", "decision: answered",
	"end: told", "end: noted", "end: over",
	"renewal: sent", "renewal: noted", "renewal: the former ended",
}

var dieLeft atomic.Int64

func dieAt(point string) {
	if point == os.Getenv(childPoint) && dieLeft.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// child is the process. It ends with the connections, or killed.
func child(dir string) error {
	nth, err := strconv.Atoi(os.Getenv(childNth))
	if err != nil {
		return err
	}
	dieLeft.Store(int64(nth))
	db, err := kv.Open(context.Background(), kv.Options{Dir: filepath.Join(dir, "db"), MemTableSize: 1 << 20})
	if err != nil {
		return err
	}
	s, err := spool.Open(context.Background(), db, spool.Options{Dir: dir})
	if err != nil {
		return err
	}
	toBroker, err := inherited(3)
	if err != nil {
		return err
	}
	remote := &remoteHalves{Client: rpc.NewClient(toBroker), renewing: map[string]bool{}}
	nobody := func(context.Context, *spool.Transaction) {} // the application does not know
	k := transaction.NewKeeper(&dyingSpool{hasty{s}, remote}, remote, nobody, slog.New(slog.DiscardHandler))
	go func() { _ = k.Run(context.Background()) }() // it ends with the process
	clients, err := inherited(4)
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Child", &Child{s, k}); err != nil {
		return err
	}
	server.ServeConn(clients)
	return nil
}

// inherited is a connection that the parent has begun.
func inherited(fd uintptr) (net.Conn, error) {
	f := os.NewFile(fd, "connection")
	defer f.Close() // the connection has its own
	return net.FileConn(f)
}

// dyingSpool comes to the points between a Keeper and its spool.
type dyingSpool struct {
	hasty

	halves *remoteHalves
}

func (s *dyingSpool) IssueHalf(ctx context.Context, id string) (spool.Transaction, error) {
	t, err := s.Spool.IssueHalf(ctx, id)
	if err == nil && t.Half.Number > 0 { // else it is a repeated prepare
		s.halves.renew(id)
	}
	return t, err
}

func (s *dyingSpool) PlaceHalf(ctx context.Context, id string, number uint64, p message.HalfPlace) (spool.Transaction, error) {
	t, err := s.Spool.PlaceHalf(ctx, id, number, p)
	if s.halves.renewed(id) {
		dieAt("renewal: the former ended")
	} else if number == 1 {
		dieAt("half: answered")
	}
	return t, err
}

func (s *dyingSpool) DueEnds(ctx context.Context, most int) ([]spool.HalfEnd, error) {
	all, err := s.Spool.DueEnds(ctx, most)
	dieAt("end: told")
	return all, err
}

func (s *dyingSpool) EndedHalf(ctx context.Context, id string, told spool.Told) (spool.Transaction, error) {
	dieAt("end: noted")
	t, err := s.Spool.EndedHalf(ctx, id, told)
	dieAt("end: over")
	return t, err
}

// remoteHalves are those of the broker in the test.
type remoteHalves struct {
	*rpc.Client

	mu       sync.Mutex
	renewing map[string]bool // transactions whose half message is being replaced
}

func (h *remoteHalves) renew(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewing[id] = true
}

func (h *remoteHalves) renewed(id string) (is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	is = h.renewing[id]
	delete(h.renewing, id)
	return is
}

func (h *remoteHalves) renews(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.renewing[id]
}

func (h *remoteHalves) Prepare(_ context.Context, m *message.Message, half broker.Half) (p message.HalfPlace, err error) {
	kind := "half"
	if h.renews(half.Transaction) {
		kind = "renewal"
	}
	dieAt(kind + ": sent")
	var a Answer
	err = h.Call("Broker.Prepare", Question{Half: half, Topic: m.Topic, ID: m.ID}, &a)
	dieAt(kind + ": noted")
	if err == nil && a.Failed {
		err = &broker.SendError{Outcome: message.OutcomeUnknown, Err: errAway}
	}
	return a.Place, err
}

func (h *remoteHalves) End(_ context.Context, p message.HalfPlace, commit bool) error {
	var a Answer
	err := h.Call("Broker.End", Question{Place: p, Commit: commit}, &a)
	switch {
	case err != nil:
		return err
	case a.NoHalf:
		return broker.ErrNoHalf
	case a.Failed:
		return errAway
	}
	return nil
}

func (h *remoteHalves) Committed(_ context.Context, p message.HalfPlace, _ time.Time) (bool, error) {
	var a Answer
	err := h.Call("Broker.Committed", Question{Place: p}, &a)
	return a.Is, err
}

func (h *remoteHalves) There(_ context.Context, p message.HalfPlace) (broker.Half, error) {
	var a Answer
	err := h.Call("Broker.There", Question{Place: p}, &a)
	return a.Half, err
}

func (*remoteHalves) Dropped(context.Context, message.HalfPlace, broker.Half, time.Time) (bool, error) {
	return false, nil
}

func (h *remoteHalves) Serve(ctx context.Context, check func(context.Context, broker.HalfCheck)) error {
	for {
		var c broker.HalfCheck
		if err := h.Call("Broker.Next", Question{}, &c); err != nil {
			return err
		}
		check(ctx, c)
	}
}

func (*remoteHalves) Expect(message.HalfPlace) {}
func (*remoteHalves) Unreached() []string      { return nil }

// Question is what a broker is called with, and Answer what it says.
type Question struct {
	broker.Half

	Topic  string
	ID     message.ID
	Place  message.HalfPlace
	Commit bool
}

// Answer is the answer to a Question.
type Answer struct {
	broker.Half

	Place              message.HalfPlace
	Is, NoHalf, Failed bool
}

// Child is what clients call.
type Child struct {
	spool  *spool.Spool
	keeper *transaction.Keeper
}

// Ask is a call for a transaction, and Told what it is answered.
type Ask struct{ What, ID string }

// Told is the answer to Ask.
type Told struct {
	State   spool.TransactionState
	Refused bool // it was, and the opposite stands
	Ended   bool
}

// Call makes it.
func (c *Child) Call(a Ask, told *Told) (err error) {
	ctx := context.Background()
	var t spool.Transaction
	switch a.What {
	case "nothing":
		return nil
	case "prepare":
		d := spool.TransactionDraft{ID: a.ID, Check: spool.Check{URL: "http://127.0.0.1/", After: time.Hour, Interval: time.Hour, Most: 15, Exhausted: spool.TransactionUndecided}}
		d.Messages = []spool.Draft{{Message: message.Message{Topic: "t", Body: []byte("body")}}}
		t, _, err = c.keeper.Prepare(ctx, d)
	case "look":
		t, err = c.spool.Transaction(ctx, a.ID)
	default:
		dieAt("decision: made")
		t, err = decideOn(c.spool, a.ID, map[string]spool.TransactionState{"commit": spool.TransactionCommitted, "rollback": spool.TransactionRolledBack}[a.What])
		dieAt("decision: answered")
	}
	if _, is := errors.AsType[*transaction.NotPreparedError](err); is {
		*told = Told{State: spool.TransactionRolledBack, Refused: true}
		return nil
	}
	if decided, is := errors.AsType[*spool.DecidedError](err); is {
		*told = Told{State: decided.Stands, Refused: true}
		return nil
	}
	*told = Told{State: t.State, Ended: err == nil && endedOrLocal(t)}
	return err
}

var _ broker.Halves = (*remoteHalves)(nil)

// runChild is main of a child.
func runChild(dir string) {
	if err := child(dir); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
