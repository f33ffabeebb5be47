package transaction_test

import (
	"pgregory.net/rapid"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/spool"
)

// modelFaults are what the model counts, each of which a run has to have met.
var modelFaults = []string{
	"killed", "replaced", "dropped", "lost commits", "lost ends of the log", "sent as normal messages",
	"asked for open ones", "asked for what is over", "asked for replaced ones", "asked for strangers",
}

// meetEach has each of modelFaults happen once, before all else.
func (m *halfModel) meetEach(t *rapid.T) {
	gone, committed, renewed := m.meet(t), m.meet(t), m.meet(t)
	m.loseOne(gone)
	m.decide(t, m.all[0], spool.TransactionCommitted)
	m.await(m.all[0].id, endedOrLocal)
	m.forward(t)

	m.decide(t, m.all[1], spool.TransactionCommitted)
	m.await(m.all[1].id, endedOrLocal)
	m.loseCommit(t)
	m.ask(t, committed, 1)
	m.check(t)

	m.meetReplaced(t, m.all[2], renewed)
	m.askStranger(t)
	m.meet(t)
	m.dropSome(t)
	m.loseTail(t)
	m.kill(t)
	m.check(t)
}

// meet prepares one, and returns where the broker has it.
func (m *halfModel) meet(t *rapid.T) (offset int64) {
	m.prepareOne(t)
	got, err := m.Transaction(t.Context(), m.all[len(m.all)-1].id)
	if err != nil {
		t.Fatal(err)
	}
	return got.Half.Place.LogOffset
}

// loseOne has the broker lose what is at an offset alone, as if others had come since.
func (m *halfModel) loseOne(at int64) {
	m.broker.set(func() {
		delete(m.broker.half, at)
		delete(m.broker.waiting, at)
	})
}

// meetReplaced has the half message of x, at an offset, replaced, and the broker ask for
// the former one.
func (m *halfModel) meetReplaced(t *rapid.T, x *modelHalf, at int64) {
	m.ask(t, at, 10)
	m.await(x.id, func(now spool.Transaction) bool { return now.Half.Number > 1 })
	m.askOf(t, x, broker.Half{Transaction: x.id, Number: 1})
}

// askOf has the broker ask for a half message that it has, somewhere.
func (m *halfModel) askOf(t *rapid.T, x *modelHalf, h broker.Half) {
	var at int64
	m.broker.set(func() {
		m.broker.next++
		at = m.broker.next
		m.broker.half[at], m.broker.ids[h.Transaction], m.broker.waiting[at] = h, x.message.String(), 0
	})
	m.ask(t, at, 1)
}
