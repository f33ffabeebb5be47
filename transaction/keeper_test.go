package transaction_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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

// halfBroker keeps half messages as a broker does: without a guard.
type halfBroker struct {
	mu        sync.Mutex
	next      int64
	half      map[int64]broker.Half // by offset
	delivered []string              // transactions
	rolled    []uint64              // numbers
	prepare   error                 // of the next calls
	end       error                 // of the next calls, which do nothing
	refuses   map[int64]bool        // ends at these offsets
	lostReply bool                  // the next end is done, and fails
	dropped   []uint64              // numbers
	ids       map[string]string     // of messages, by transaction
	ordinary  map[int64]bool        // offsets of messages that are no half messages
	waiting   map[int64]int         // by offset: how often it has asked for what no end has come for
	committed map[string]int64      // offsets, by transaction
	lostHalf  bool                  // the next half message is kept, and its Prepare fails
	answered  int                   // questions

	first      func() error // what the next Prepare does instead
	preparing  func()       // called before the next one is kept, under mu
	looking    func()       // called by the next look for what is committed
	mayNotLook bool
	look       func(broker.Half) (bool, error)
	expected   []message.HalfPlace
	checks     chan broker.HalfCheck
}

func newHalfBroker() *halfBroker {
	return &halfBroker{half: map[int64]broker.Half{}, ids: map[string]string{}, ordinary: map[int64]bool{}, waiting: map[int64]int{}, committed: map[string]int64{}, checks: make(chan broker.HalfCheck)}
}

func (b *halfBroker) set(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

func (b *halfBroker) Prepare(_ context.Context, m *message.Message, h broker.Half) (message.HalfPlace, error) {
	b.mu.Lock()
	first := b.first
	b.first = nil
	b.mu.Unlock()
	if first != nil {
		return message.HalfPlace{}, first()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.prepare != nil {
		return message.HalfPlace{}, b.prepare
	}
	if b.preparing != nil {
		b.preparing()
		b.preparing = nil
	}
	b.next++
	b.half[b.next], b.ids[h.Transaction], b.waiting[b.next] = h, m.ID.String(), 0
	if b.lostHalf {
		b.lostHalf = false
		return message.HalfPlace{}, &broker.SendError{Outcome: message.OutcomeUnknown, Err: errors.New("connection reset")}
	}
	return placeAt(m, h.Number, b.next), nil
}

// placeAt is that of a half message whose queue and broker's transaction are its own.
func placeAt(m *message.Message, number uint64, offset int64) message.HalfPlace {
	return message.HalfPlace{
		Topic: m.Topic, Broker: "b", Group: "g", Queue: fmt.Sprint("b/", number), LogOffset: offset,
		OffsetMessageID: "O", MessageID: m.ID.String(), TransactionID: fmt.Sprint("T", number),
	}
}

func (b *halfBroker) End(_ context.Context, p message.HalfPlace, commit bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.end != nil {
		return b.end
	}
	if b.refuses[p.LogOffset] {
		return errors.New("system busy")
	}
	h, ok := b.half[p.LogOffset]
	switch {
	case b.ordinary[p.LogOffset]:
		return errors.New("java.lang.NullPointerException")
	case !ok:
		return broker.ErrNoHalf
	case commit:
		b.delivered, b.committed[h.Transaction] = append(b.delivered, h.Transaction), p.LogOffset
	default:
		b.rolled = append(b.rolled, h.Number)
	}
	delete(b.waiting, p.LogOffset)
	if b.lostReply {
		b.lostReply = false
		return errors.New("connection reset")
	}
	return nil
}

func (b *halfBroker) Committed(_ context.Context, p message.HalfPlace, _ time.Time) (bool, error) {
	b.mu.Lock()
	looking := b.looking
	b.looking = nil
	b.mu.Unlock()
	if looking != nil {
		looking()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.delivered, func(id string) bool { return b.ids[id] == p.MessageID }), nil
}

func (b *halfBroker) Serve(ctx context.Context, check func(context.Context, broker.HalfCheck)) error {
	for {
		select {
		case c := <-b.checks:
			check(ctx, c)
			b.set(func() { b.answered++ })
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *halfBroker) Dropped(_ context.Context, _ message.HalfPlace, h broker.Half, _ time.Time) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.look != nil {
		return b.look(h)
	}
	return slices.Contains(b.dropped, h.Number), nil
}

func (b *halfBroker) There(_ context.Context, p message.HalfPlace) (broker.Half, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mayNotLook {
		return broker.Half{}, broker.ErrMayNotLook
	}
	h, ok := b.half[p.LogOffset]
	if !ok || b.ids[h.Transaction] != p.MessageID {
		return broker.Half{}, nil
	}
	return h, nil
}

func (b *halfBroker) Expect(p message.HalfPlace) {
	b.set(func() { b.expected = append(b.expected, p) })
}
func (b *halfBroker) Unreached() []string { return nil }
func (b *halfBroker) Close() error        { return nil }

// asks has the broker ask, as often as it was said to have.
func (b *halfBroker) asks(t spool.Transaction, number uint64, times int) {
	b.checks <- b.question(t.Messages[0], broker.Half{Transaction: t.ID, Number: number}, times)
}

// question is for a half message that the broker moves with it.
func (b *halfBroker) question(id message.ID, h broker.Half, times int) broker.HalfCheck {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	b.half[b.next], b.ids[h.Transaction], b.waiting[b.next] = h, id.String(), times
	return broker.HalfCheck{Half: h, MessageID: id, Place: placeAt(&message.Message{Topic: "t", ID: id}, h.Number, b.next), Times: times}
}

func (b *halfBroker) await(t rapid.TB, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		ok := is()
		b.mu.Unlock()
		if ok {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("%s: delivered %q, rolled back %d", what, b.delivered, b.rolled)
		}
	}
}

// keep runs a Keeper over the rig's spool.
func (r *rig) keep(b *halfBroker) *transaction.Keeper { return r.keepOn(r.Spool, b) }

func (r *rig) keepOn(s transaction.HalfSpool, b broker.Halves) *transaction.Keeper {
	ctx, cancel := context.WithCancel(context.Background())
	r.checker = transaction.New(r.Spool, r.o)
	k := transaction.NewKeeper(s, b, r.checker.Ask, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := k.Run(ctx); !errors.Is(err, context.Canceled) {
			r.t.Errorf("run: %v", err)
		}
	}()
	r.end = sync.OnceFunc(func() { cancel(); <-done })
	return k
}

func (r *rig) atBroker(k *transaction.Keeper, id string) (spool.Transaction, error) {
	return r.atBrokerAs(context.Background(), k, spool.TransactionDraft{ID: id})
}

func (r *rig) atBrokerAs(ctx context.Context, k *transaction.Keeper, d spool.TransactionDraft) (spool.Transaction, error) {
	d.Check = spool.Check{URL: r.app.URL + "/tx", After: time.Hour, Interval: time.Hour, Most: 15, Exhausted: spool.TransactionUndecided}
	d.Messages = []spool.Draft{{Message: message.Message{Topic: "t", Body: []byte("body")}}}
	t, _, err := k.Prepare(ctx, d)
	return t, err
}

func (r *rig) mustAtBroker(k *transaction.Keeper, id string) spool.Transaction {
	r.t.Helper()
	t, err := r.atBroker(k, id)
	if err != nil || t.Half.Number != 1 {
		r.t.Fatalf("prepared %+v, %v", t.Half, err)
	}
	return t
}

func ended(t spool.Transaction) bool { return t.State.Decided() && t.Half.Ended }

func (r *rig) commit(id string) {
	r.t.Helper()
	if _, err := r.CommitTransaction(context.Background(), id, "test"); err != nil {
		r.t.Fatal(err)
	}
}

func TestBrokerIsToldUntilItHasConfirmed(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	b.set(func() { b.end = errors.New("connection refused") })
	r.commit("tx")
	r.await("tx", func(t spool.Transaction) bool { return t.Half.Tries > 1 })
	r.end()
	b.set(func() { b.end = nil })
	r.keep(b)
	r.await("tx", ended)
	if got, err := r.Receipt(t.Context(), tx.Messages[0]); err != nil || got.State != message.StateConfirmed || got.Confirmation.Flushed() {
		t.Errorf("%+v, %v", got, err)
	}
	b.await(t, "once", func() bool { return slices.Equal(b.delivered, []string{"tx"}) })
}

// A commit whose answer is lost is looked for before it is made again.
func TestCommitIsNotMadeTwice(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	r.mustAtBroker(r.keep(b), "tx")
	b.set(func() { b.lostReply = true })
	r.commit("tx")
	r.await("tx", ended)
	b.await(t, "once", func() bool { return slices.Equal(b.delivered, []string{"tx"}) })
}

func TestGoneHalfMessageIsSent(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	k := r.keep(b)
	tx := r.mustAtBroker(k, "tx")
	b.set(func() { clear(b.half) })
	r.commit("tx")
	r.await("tx", ended)
	if got, err := r.Receipt(t.Context(), tx.Messages[0]); err != nil || got.State != message.StatePending {
		t.Errorf("%+v, %v", got, err)
	}
	r.counted(k, "remora_half_messages_gone_total", "", 1)
}

func TestWhatTheBrokerDoesNotTakeIsRolledBack(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	k := r.keep(b)
	for outcome, maybe := range map[message.Outcome]bool{message.OutcomeUnknown: true, message.OutcomeRetryable: false} {
		id := "tx " + outcome.String()
		b.set(func() { b.prepare = &broker.SendError{Outcome: outcome} })
		tx, err := r.atBroker(k, id)
		if n, ok := errors.AsType[*transaction.NotPreparedError](err); !ok || n.Maybe != maybe || tx.State != spool.TransactionRolledBack {
			t.Fatalf("%s: %+v, %v", outcome, tx, err)
		}
		b.set(func() { b.rolled = nil })
		b.asks(tx, 1, 1) // it was stored all the same
		b.await(t, "answered", func() bool { return slices.Equal(b.rolled, []uint64{1}) })
	}
}

// A client that repeats a prepare, because the first call takes too long, is answered
// what stands: that one may fail in the end, and rolls back what it has begun.
func TestARepeatedPrepareWaitsForTheFirst(t *testing.T) {
	for name, draft := range map[string]spool.TransactionDraft{"by ID": {ID: "tx"}, "by key": {Key: "key"}} {
		t.Run(name, func(t *testing.T) {
			r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
			k := r.keep(b)
			sent, fails := make(chan struct{}), make(chan struct{})
			b.set(func() { b.first = func() error { close(sent); <-fails; return errors.New("timeout") } })
			first, again := make(chan error, 1), make(chan error, 1)
			var stands spool.Transaction
			go func() { _, err := r.atBrokerAs(t.Context(), k, draft); first <- err }()
			<-sent
			gaveUp, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := r.atBrokerAs(gaveUp, k, draft); !errors.Is(err, spool.ErrUnknown) {
				t.Errorf("a repeat that cannot wait: %v", err)
			}
			go func() { var err error; stands, err = r.atBrokerAs(t.Context(), k, draft); again <- err }()
			close(fails)
			if n, ok := errors.AsType[*transaction.NotPreparedError](<-first); !ok {
				t.Errorf("the first: %v", n)
			}
			if err := <-again; err == nil {
				if now, err := r.Transaction(t.Context(), stands.ID); err != nil || now.State != spool.TransactionHalf {
					t.Errorf("the repeat was answered, and %+v, %v", now, err)
				}
			} else if !errors.Is(err, spool.ErrDecided) || draft.ID == "" {
				t.Errorf("the repeat: %v", err)
			}
		})
	}
}

func TestBrokersQuestionIsAskedOfTheApplication(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(200, "COMMIT")), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	b.asks(tx, 1, 1)
	got := r.await("tx", ended)
	if got.State != spool.TransactionCommitted || got.Half.Place.LogOffset != 2 || got.Checks != 0 {
		t.Errorf("it is %+v, %+v", got, got.Half)
	}
	b.await(t, "once", func() bool { return slices.Equal(b.delivered, []string{"tx"}) })
	r.counted(r.checker, "remora_transaction_checks_total", "commit", 1)
}

// An answer that decides nothing counts for nothing, and the broker asks again.
func TestBrokersQuestionWithoutADecision(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(404, "no such order")), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	b.asks(tx, 1, 1)
	r.await("tx", func(t spool.Transaction) bool { n, _ := r.app.asked(); return n == 1 && t.Half.Place.LogOffset == 2 })
	if got := r.await("tx", in(spool.TransactionHalf)); got.Checks != 0 {
		t.Errorf("it counts %d check-backs", got.Checks)
	}
	if len(b.delivered)+len(b.rolled) > 0 {
		t.Errorf("delivered %q, rolled back %d", b.delivered, b.rolled)
	}
}

// Before the broker drops a half message another one takes its place; asked for the
// old one it is told to roll that back.
func TestHalfMessageIsRenewed(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	k := r.keep(b)
	tx := r.mustAtBroker(k, "tx")
	b.asks(tx, 1, 10)
	r.await("tx", func(t spool.Transaction) bool { return t.Half.Number == 2 })
	b.await(t, "the old one is over", func() bool { return slices.Contains(b.rolled, 1) })
	b.set(func() { b.rolled = nil })
	b.asks(tx, 1, 11)
	b.await(t, "the old one is asked for", func() bool { return slices.Equal(b.rolled, []uint64{1}) })
	r.commit("tx")
	r.await("tx", ended)
	b.await(t, "once", func() bool { return slices.Equal(b.delivered, []string{"tx"}) && !slices.Contains(b.rolled, 2) })
	r.counted(k, "remora_half_messages_renewed_total", "", 1)
	b.await(t, "one in the last hour", func() bool { return k.Renewed() == 1 })
}

// One that was replaced is rolled back, with the decision at the latest. A broker that
// does not do that keeps no commit from being noted.
func TestReplacedHalfMessageIsRolledBackWithTheDecision(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	b.set(func() { b.refuses = map[int64]bool{2: true} })
	b.asks(tx, 1, 10) // at 2
	r.await("tx", func(t spool.Transaction) bool { return t.Half.Number == 2 && len(t.Half.Former) == 1 })
	r.commit("tx")
	r.await("tx", func(spool.Transaction) bool {
		got, err := r.Receipt(t.Context(), tx.Messages[0])
		return err == nil && got.State == message.StateConfirmed
	})
	if got, err := r.Transaction(t.Context(), "tx"); err != nil || got.Half.Ended {
		t.Errorf("it is over: %+v, %v", got.Half, err)
	}
	b.set(func() { b.refuses = nil })
	r.await("tx", ended)
	b.await(t, "once, and the former rolled back", func() bool { return slices.Equal(b.delivered, []string{"tx"}) && slices.Contains(b.rolled, 1) })
}

// Applications that hang, of two hosts, keep no half message from being replaced before
// its broker drops it.
func TestRenewalsHaveRoomBesideApplicationsThatHang(t *testing.T) {
	const places = 16
	hanging, released := make(chan struct{}, places), make(chan struct{})
	hang := func(http.ResponseWriter, *http.Request) {
		hanging <- struct{}{}
		<-released
	}
	goOn := sync.OnceFunc(func() { close(released) })
	defer goOn()
	r, b := newRig(t, transaction.Options{Timeout: time.Minute, Allowed: transaction.Allowed{"http://127.0.0.1:*"}}, hang), newHalfBroker()
	k := r.keep(b)
	first, other := r.app, newApplication(t, hang)
	for i := range places {
		r.app = []*application{first, other}[i%2]
		b.asks(r.mustAtBroker(k, fmt.Sprint("hangs-", i)), 1, 1)
	}
	for range places {
		<-hanging
	}
	b.asks(r.mustAtBroker(k, "old"), 1, 10)
	r.await("old", func(t spool.Transaction) bool { return t.Half.Number == 2 })
	goOn()
}

// Without a broker that has half messages, those of a former one are taken for gone.
func TestHalfMessagesOfAFormerBroker(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	r.end()
	ctx, cancel := context.WithCancel(t.Context())
	k := transaction.NewKeeper(r.Spool, nil, nil, slog.New(slog.DiscardHandler))
	if _, err := r.atBroker(k, "another"); !errors.Is(err, transaction.ErrNoHalves) {
		t.Errorf("prepared: %v", err)
	}
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx) })
	r.commit("tx")
	r.await("tx", ended)
	cancel()
	running.Wait()
	if got, err := r.Receipt(t.Context(), tx.Messages[0]); err != nil || got.State != message.StatePending {
		t.Errorf("%+v, %v", got, err)
	}
}
