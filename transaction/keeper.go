package transaction

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// HalfSpool is what a Keeper needs of a spool.
type HalfSpool interface {
	Prepare(ctx context.Context, d spool.TransactionDraft) (spool.Transaction, []message.Receipt, error)
	RollBackTransaction(ctx context.Context, id, by string) (spool.Transaction, error)
	PlaceHalf(ctx context.Context, id string, number uint64, p message.HalfPlace) (spool.Transaction, error)
	IssueHalf(ctx context.Context, id string) (spool.Transaction, error)
	HalfEnds
	Known
}

// HalfEnds are what brokers are to be told.
type HalfEnds interface {
	DueEnds(ctx context.Context, most int) ([]spool.HalfEnd, error)
	EndedHalf(ctx context.Context, id string, told spool.Told) (spool.Transaction, error)
	EndHalfAgain(ctx context.Context, id, why string, in time.Duration) error
}

// Known is what a spool tells of transactions and their messages.
type Known interface {
	Transaction(ctx context.Context, id string) (spool.Transaction, error)
	Transactions(ctx context.Context, states []spool.TransactionState, cursor string, limit int) (spool.TransactionPage, error)
	Find(ctx context.Context, id message.ID) (spool.Item, error)
	Receipt(ctx context.Context, id message.ID) (message.Receipt, error)
}

var _ HalfSpool = (*spool.Spool)(nil)

// NotPreparedError is why a broker has no half message of a transaction, which is
// rolled back for that.
type NotPreparedError struct {
	Maybe bool // it may have it: then it is told, or answered, that it is rolled back
	Err   error
}

func (e *NotPreparedError) Error() string {
	return "the broker did not take the half message: " + e.Err.Error()
}
func (e *NotPreparedError) Unwrap() error { return e.Err }

// Keeper has brokers keep half messages of transactions of mode broker, tells them
// what is decided until they have confirmed it, and answers what they ask.
type Keeper struct {
	spool   HalfSpool
	halves  broker.Halves // nil: the broker of now has none
	ask     func(ctx context.Context, t *spool.Transaction)
	log     *slog.Logger
	metrics *keeperMetrics
	began   time.Time
	asking  chan struct{} // one for each application that is asked
	renews  chan struct{} // one for each half message that is replaced
	silence silence

	mu        sync.Mutex
	asked     map[string]bool          // transactions whose application is being asked, or that are renewed
	preparing map[string]chan struct{} // by what a repeat names: closed when the call that has it ends
	strange   time.Time                // when a broker asked last for what is not known here
}

// NewKeeper returns a Keeper that does nothing until Run, but Prepare. ask is
// Checker.Ask. halves may be nil: then nothing is prepared, and what a former broker
// has is taken for gone.
func NewKeeper(s HalfSpool, halves broker.Halves, ask func(context.Context, *spool.Transaction), log *slog.Logger) *Keeper {
	return &Keeper{
		spool: s, halves: halves, ask: ask, log: log, metrics: newKeeperMetrics(), began: time.Now(),
		silence: silence{heard: map[string]time.Time{}},
		asking:  make(chan struct{}, 16), renews: make(chan struct{}, 16), asked: map[string]bool{}, preparing: map[string]chan struct{}{},
	}
}

// ErrNoHalves reports that the broker of now keeps no half messages.
var ErrNoHalves = errors.New("this broker keeps no half messages")

// Prepare is Spool.Prepare, and returns nil only when the broker has the half message,
// too. Where it does not, the transaction is rolled back before Prepare returns:
// *NotPreparedError. A repeat waits for the call before it: each would send a half
// message, and the one whose broker does not take it would roll back what the other one
// has answered.
func (k *Keeper) Prepare(ctx context.Context, d spool.TransactionDraft) (spool.Transaction, []message.Receipt, error) {
	if k.halves == nil {
		return spool.Transaction{}, nil, ErrNoHalves
	}
	d.AtBroker = true
	leave, err := k.enter(ctx, nameOf(&d))
	if err != nil {
		return spool.Transaction{}, nil, err
	}
	defer leave()
	t, receipts, err := k.spool.Prepare(ctx, d)
	if err != nil || t.Half == nil || t.Half.Number > 0 || t.State != spool.TransactionHalf {
		return t, receipts, err
	}
	duplicate := t.Duplicate
	if duplicate { // the first call has not come so far, or its answer was lost
		if t, err = k.spool.IssueHalf(ctx, t.ID); err != nil {
			return t, nil, err
		}
	}
	t, err = k.send(ctx, &t)
	t.Duplicate = duplicate
	return t, receipts, err
}

// nameOf is what two calls for one transaction have in common; "": there is one call.
func nameOf(d *spool.TransactionDraft) string {
	switch {
	case d.ID != "":
		return "i" + d.ID
	case d.Key != "":
		return "k" + d.Key
	}
	return ""
}

// enter waits until no other call prepares what has that name. Then none does until
// leave is called.
func (k *Keeper) enter(ctx context.Context, name string) (leave func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	for {
		former, mine := k.take(name)
		if former == nil {
			return func() { k.giveBack(name, mine) }, nil
		}
		select {
		case <-former:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: another call prepares it: %w", spool.ErrUnknown, ctx.Err())
		}
	}
}

// take returns what is closed when the call that has the name ends, or gives it away.
func (k *Keeper) take(name string) (former, mine chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if former = k.preparing[name]; former == nil {
		mine = make(chan struct{})
		k.preparing[name] = mine
	}
	return former, mine
}

func (k *Keeper) giveBack(name string, mine chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.preparing, name)
	close(mine)
}

// send has the broker keep the half message that was issued last.
func (k *Keeper) send(ctx context.Context, t *spool.Transaction) (spool.Transaction, error) {
	number := t.Half.Issued
	place, err := k.store(ctx, t, number)
	if err != nil {
		return k.giveUp(ctx, t, err)
	}
	k.silence.hear(t.ID, time.Now()) // before expect can take it for one of a former process
	stands, err := k.spool.PlaceHalf(ctx, t.ID, number, place)
	if err != nil || stands.State.Decided() {
		k.silence.forget(t.ID)
	}
	if err != nil { // it is half, here and there; who asks again is told
		return stands, fmt.Errorf("%w: %w", spool.ErrUnknown, err)
	}
	if stands.State.Decided() && stands.Half.Ended {
		k.end(ctx, place, false)
	}
	if stands.State == spool.TransactionRolledBack {
		return stands, &spool.DecidedError{Stands: stands.State}
	}
	return stands, nil
}

// store makes one attempt.
func (k *Keeper) store(ctx context.Context, t *spool.Transaction, number uint64) (message.HalfPlace, error) {
	item, err := k.spool.Find(ctx, t.Messages[0])
	if err == nil && item.Message == nil {
		err = spool.ErrNotFound
	}
	if err != nil {
		return message.HalfPlace{}, &broker.SendError{Outcome: message.OutcomeRetryable, Status: "NOT_READ", Err: err}
	}
	m := *item.Message
	m.ID = t.Messages[0]
	return k.halves.Prepare(ctx, &m, broker.Half{Transaction: t.ID, Number: number})
}

// giveUpTime is for a rollback that its caller may not wait for any more.
const giveUpTime = 10 * time.Second

func (k *Keeper) giveUp(ctx context.Context, t *spool.Transaction, why error) (spool.Transaction, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpTime)
	defer cancel()
	stands, err := k.spool.RollBackTransaction(ctx, t.ID, "the broker did not take its half message")
	if err != nil {
		return stands, fmt.Errorf("%w: roll back what the broker did not take (%w): %w", spool.ErrUnknown, why, err)
	}
	return stands, &NotPreparedError{Maybe: broker.OutcomeOf(why) == message.OutcomeUnknown, Err: why}
}

// end tells a broker once, of a place that is as new as its question. That it asks
// again makes good what fails.
func (k *Keeper) end(ctx context.Context, p message.HalfPlace, commit bool) {
	k.warn(ctx, k.halves.End(ctx, p, commit), p, commit)
}

// warn says what the end of a half message failed with.
func (k *Keeper) warn(ctx context.Context, err error, p message.HalfPlace, commit bool) {
	if err != nil && !errors.Is(err, broker.ErrNoHalf) && ctx.Err() == nil {
		k.log.Warn("a broker did not confirm the end of a half message; it is told again when it asks", "broker", p.Broker, "message", p.MessageID, "commit", commit, "error", err)
	}
}

// endThere ends a half message if it lies where it was: is recognizes it. A broker that
// has lost the end of its log has put others there: it would commit one that is not
// decided, if group and offsets are the same, or fail again and again with what tells
// nothing of half messages.
func (k *Keeper) endThere(ctx context.Context, p message.HalfPlace, commit bool, is func(broker.Half) bool) error {
	there, err := k.halves.There(ctx, p)
	switch {
	case errors.Is(err, broker.ErrMayNotLook): // it is told unseen
	case err != nil:
		return err
	case !is(there):
		return errLost
	}
	return k.halves.End(ctx, p, commit)
}

// endFormer rolls back a half message of a transaction that was replaced by the one that
// stands, unless that lies at its place: then the broker has lost it.
func (k *Keeper) endFormer(ctx context.Context, id string, former message.HalfPlace, stands *spool.BrokerHalf) error {
	if former.Same(stands.Place) {
		return errLost
	}
	return k.endThere(ctx, former, false, func(h broker.Half) bool { return h.Transaction == id && h.Number < stands.Number })
}

// errLost reports that a half message does not lie where it was.
var errLost = fmt.Errorf("another message lies at its place, or none: %w", broker.ErrNoHalf)

// Run tells brokers what is decided, and answers them, until ctx ends or the spool
// takes nothing more: then it returns why.
func (k *Keeper) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if k.halves != nil {
		var asking sync.WaitGroup
		running.Go(func() {
			defer asking.Wait()
			_ = k.halves.Serve(ctx, func(ctx context.Context, c broker.HalfCheck) { k.check(ctx, c, &asking) }) // it ends with ctx
		})
		running.Go(func() {
			k.expect(ctx)
			k.watch(ctx)
		})
	}
	return k.endAll(ctx)
}

// Unreached names the brokers that cannot ask here, and should.
func (k *Keeper) Unreached() []string {
	if k.halves == nil {
		return nil
	}
	return k.halves.Unreached()
}

// strangeFor is how long it is told that a broker has asked for what is not known.
const strangeFor = 10 * time.Minute

// Strange reports whether a broker has asked lately for a half message that is not
// known here: of a spool that is lost, or of somebody else with the same group.
func (k *Keeper) Strange() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.strange.IsZero() && time.Since(k.strange) < strangeFor
}
