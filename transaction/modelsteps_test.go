package transaction_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// prepareSome prepares some; of the first the broker may refuse the half message, or
// lose the reply.
func (m *halfModel) prepareSome(t *rapid.T) {
	m.disturb(t)
	for range rapid.IntRange(1, 3).Draw(t, "transactions") {
		m.prepareOne(t)
	}
}

func (m *halfModel) prepareOne(t *rapid.T) {
	id := fmt.Sprint("tx-", len(m.all))
	got, err := m.atBroker(m.keeper, id)
	x := &modelHalf{id: id, message: got.Messages[0], state: spool.TransactionHalf}
	m.all = append(m.all, x)
	m.prepared(t, x, got, err)
}

// prepared follows what a client was told.
func (m *halfModel) prepared(t *rapid.T, x *modelHalf, got spool.Transaction, err error) {
	_, refused := errors.AsType[*transaction.NotPreparedError](err)
	switch {
	case refused && x.state == spool.TransactionHalf:
		x.state = spool.TransactionRolledBack
	case err == nil && got.State != spool.TransactionRolledBack:
		m.follow(t, x, got.State)
	case errors.Is(err, spool.ErrDecided):
		m.follow(t, x, spool.TransactionRolledBack)
	default:
		t.Fatalf("prepared %s, which was %s: %+v, %v", x.id, x.state, got, err)
	}
}

// prepareAgain repeats a call: it is told what stands, or what is done now.
func (m *halfModel) prepareAgain(t *rapid.T) {
	if x := m.some(t, anyHalf); x != nil {
		got, err := m.atBroker(m.keeper, x.id)
		m.prepared(t, x, got, err)
	}
}

// prepareAndDie kills the process at some moment of a prepare: then there is no
// transaction, here or at the broker, or one that waits, or that is rolled back.
func (m *halfModel) prepareAndDie(t *rapid.T) {
	id, k := fmt.Sprint("tx-", len(m.all)), m.keeper
	m.die(func() { _, _ = m.atBroker(k, id) })
	got, err := m.Transaction(t.Context(), id)
	if err == nil && got.State != spool.TransactionCommitted {
		m.all = append(m.all, &modelHalf{id: id, message: got.Messages[0], state: got.State})
		return
	}
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	if !errors.Is(err, spool.ErrNoTransaction) || m.broker.ids[id] != "" {
		t.Fatalf("%s is %+v, %v; at the broker is %q", id, got, err, m.broker.ids[id])
	}
}

// disturb has the broker, now and then, not take the next half message, or lose its reply.
func (m *halfModel) disturb(t *rapid.T) {
	how := rapid.SampledFrom([]string{"", "", "", "", "refused", "reply lost"}).Draw(t, "next half message")
	m.broker.set(func() {
		m.broker.lostHalf = how == "reply lost"
		if m.broker.first = nil; how == "refused" {
			m.broker.first = func() error {
				return &broker.SendError{Outcome: message.OutcomeRetryable, Err: errors.New("system busy")}
			}
		}
	})
}

// decide has a client decide: what stands is told, the opposite is refused.
func (m *halfModel) decide(t *rapid.T, x *modelHalf, to spool.TransactionState) {
	got, err := decideOn(m.Spool, x.id, to)
	switch {
	case err == nil && got.State == to && (x.state == to || !x.state.Decided()):
		x.state = to
	case errors.Is(err, spool.ErrDecided) && got.State != to:
		m.follow(t, x, got.State)
	default:
		t.Fatalf("%s of %s, which was %s: %+v, %v", to, x.id, x.state, got, err)
	}
}

func decideOn(s *spool.Spool, id string, to spool.TransactionState) (spool.Transaction, error) {
	if to == spool.TransactionCommitted {
		return s.CommitTransaction(context.Background(), id, "model")
	}
	return s.RollBackTransaction(context.Background(), id, "model")
}

func (m *halfModel) decideSome(t *rapid.T) {
	if x := m.some(t, anyHalf); x != nil {
		m.decide(t, x, rapid.SampledFrom(decisions).Draw(t, "decision"))
	}
}

// decideAndDie kills the process at some moment of a decision, and of what is told to
// the broker of it: it stands, or may still be made.
func (m *halfModel) decideAndDie(t *rapid.T) {
	x := m.some(t, openHalf)
	if x == nil {
		return
	}
	to, s := rapid.SampledFrom(decisions).Draw(t, "decision"), m.Spool
	m.die(func() { _, _ = decideOn(s, x.id, to) })
	if got, err := m.Transaction(t.Context(), x.id); err == nil && got.State == to {
		x.state = to
	}
}

// applicationDecides says what the application answers from now on.
func (m *halfModel) applicationDecides(t *rapid.T) {
	x := m.some(t, func(x *modelHalf) bool { return m.answers.said(x.id) == 0 })
	if x == nil {
		return
	}
	is := rapid.SampledFrom(decisions).Draw(t, "answer")
	m.answers.mu.Lock()
	defer m.answers.mu.Unlock()
	m.answers.says[x.id] = is
}

// outage begins one, or ends it.
func (m *halfModel) outage(t *rapid.T) {
	m.setAway(!m.away && rapid.IntRange(0, 2).Draw(t, "away") == 0)
}

func (m *halfModel) setAway(is bool) {
	m.away = is
	m.broker.set(func() {
		m.broker.prepare, m.broker.end = nil, nil
		if m.away {
			m.broker.prepare, m.broker.end = &broker.SendError{Outcome: message.OutcomeRetryable, Err: errAway}, errAway
		}
	})
}

var errAway = errors.New("connection refused")

func (m *halfModel) loseEnd(*rapid.T) { m.broker.set(func() { m.broker.lostReply = true }) }

// askSome has the broker ask for some of its half messages.
func (m *halfModel) askSome(t *rapid.T) {
	for range rapid.IntRange(1, 3).Draw(t, "questions") {
		m.askFor(t, 1)
	}
}

// askLast has it ask so often that it is replaced.
func (m *halfModel) askLast(t *rapid.T) {
	m.disturb(t)
	m.askFor(t, 10)
}

func (m *halfModel) askFor(t *rapid.T, more int) {
	if all := m.offsets(); len(all) > 0 {
		m.ask(t, rapid.SampledFrom(all).Draw(t, "offset"), more)
	}
}

// ask has the broker ask for what is at an offset, and looks at how that is answered.
func (m *halfModel) ask(t *rapid.T, at int64, more int) {
	b := m.broker
	b.mu.Lock()
	h, times, answered := b.half[at], b.waiting[at]+more, b.answered
	delete(b.waiting, at)
	id, faulty := b.ids[h.Transaction], b.end != nil || b.lostReply
	b.mu.Unlock()
	before, _ := m.Transaction(t.Context(), h.Transaction)
	of, err := message.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	c := b.question(of, h, times)
	b.checks <- c
	b.await(t, "answered", func() bool { return b.answered > answered })
	b.mu.Lock()
	_, waits := b.waiting[c.Place.LogOffset]
	b.mu.Unlock()
	switch {
	case m.stranger[h]:
		if !waits || !m.keeper.Strange() {
			t.Fatalf("%+v, which nobody knows, was ended", h)
		}
		b.set(func() { delete(b.waiting, c.Place.LogOffset) }) // the broker drops it
		m.did["asked for strangers"]++
	case faulty:
	case h.Number < before.Half.Number && !c.Place.Same(before.Half.Place):
		if waits {
			t.Fatalf("%+v was not rolled back, and %+v stands", h, before.Half)
		}
		m.did["asked for replaced ones"]++
	case endedOrLocal(before) && waits:
		t.Fatalf("%+v was not ended, and is over: %+v", h, before.Half)
	case endedOrLocal(before):
		m.did["asked for what is over"]++
	default:
		m.did["asked for open ones"]++
	}
}

// askStranger asks for a half message of a spool that is lost.
func (m *halfModel) askStranger(t *rapid.T) {
	h := broker.Half{Transaction: fmt.Sprint("stranger-", len(m.stranger)), Number: 1}
	m.stranger[h] = true
	var at int64
	m.broker.set(func() {
		m.broker.next++
		at = m.broker.next
		m.broker.half[at], m.broker.waiting[at] = h, 0
		m.broker.ids[h.Transaction] = message.NewID(message.SpoolID{9}, 1, uint64(at), time.Now()).String()
	})
	m.ask(t, at, 1)
}

// loseCommit has the broker forget that it committed a half message.
func (m *halfModel) loseCommit(t *rapid.T) {
	b := m.broker
	x := m.some(t, func(x *modelHalf) bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		at, committed := b.committed[x.id]
		return committed && b.half[at].Transaction == x.id && slices.Contains(b.delivered, x.id)
	})
	if x == nil {
		return
	}
	m.lost[x.id] = true
	b.set(func() {
		b.delivered = slices.DeleteFunc(b.delivered, func(id string) bool { return id == x.id })
		b.waiting[b.committed[x.id]] = 0
	})
	m.did["lost commits"]++
}

// dropSome has the broker ask for a half message no more.
func (m *halfModel) dropSome(t *rapid.T) {
	all := m.offsets()
	if len(all) == 0 {
		return
	}
	at := rapid.SampledFrom(all).Draw(t, "offset")
	m.broker.mu.Lock()
	defer m.broker.mu.Unlock()
	if h := m.broker.half[at]; !m.lost[h.Transaction] {
		m.dropped[h] = true
		delete(m.broker.waiting, at)
		m.did["dropped"]++
	}
}

// loseTail has the broker lose the end of its log, while no sidecar runs: between a look
// at a place and the end of what lies there nobody can know it. A commit that it has lost
// before must be made again first: without its half message nobody can.
func (m *halfModel) loseTail(t *rapid.T) {
	b, empty := m.broker, false
	b.set(func() { empty = b.next < 1 }) // a renewal may be under way
	if len(m.lost) > 0 || empty {
		return
	}
	m.close()
	b.set(func() { b.cut(max(1, b.next-int64(rapid.IntRange(0, 3).Draw(t, "lost")))) })
	m.start()
	m.did["lost ends of the log"]++
}

// awaitEnd waits until the broker has confirmed a decision.
func (m *halfModel) awaitEnd(t *rapid.T) {
	if x := m.some(t, func(x *modelHalf) bool { return x.state.Decided() }); x != nil && !m.away {
		m.await(x.id, endedOrLocal)
	}
}
