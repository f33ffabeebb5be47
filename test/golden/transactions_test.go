package golden

import (
	"errors"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// ofTransactions is the topic of all half messages. heldHalf are left of them.
const (
	ofTransactions = "payments"
	heldHalf       = 3
)

// prepare adds a transaction in each of its states: 1 and 2 half, 3 undecided, 4
// committed and confirmed, 5 rolled back.
func (h *house) prepare() {
	h.t.Helper()
	h.transaction("half", 1, 2)
	h.transaction("undecided", 3)
	_, err := h.spool.Undecide(h.t.Context(), "undecided", "nobody answered")
	h.must(err)
	h.transaction("committed", 4)
	h.transaction("rolled back", 5)
	h.decide("committed", true)
	h.decide("rolled back", false)
}

// prepareAtBroker adds transactions of which a broker has a half message: 6 is half, 7
// is committed and not confirmed, 8 is to be rolled back.
func (h *house) prepareAtBroker() {
	h.t.Helper()
	for i, id := range []string{"half at a broker", "committed at a broker", "rolled back at a broker"} {
		h.atBroker(id, 6+i)
	}
	_, err := h.spool.CommitTransaction(h.t.Context(), "committed at a broker", "the application")
	h.must(err)
	h.decide("rolled back at a broker", false)
}

// atBroker adds a transaction of which a broker has its second half message.
func (h *house) atBroker(id string, number int) {
	h.t.Helper()
	d := h.transactionDraft(id, number)
	d.AtBroker = true
	_, _, err := h.spool.Prepare(h.t.Context(), d)
	h.must(err)
	for n := range 2 {
		_, err = h.spool.PlaceHalf(h.t.Context(), id, uint64(n+1), message.HalfPlace{
			Topic: ofTransactions, Broker: "broker-a", Address: "127.0.0.1:10911", Group: "remora", Queue: "broker-a/3",
			QueueOffset: int64(number), LogOffset: int64(1000*number + n), OffsetMessageID: "7F00000100002A9F0000000000001770", MessageID: "M", TransactionID: "T",
		})
		h.must(err)
	}
}

func (h *house) transaction(id string, numbers ...int) {
	h.t.Helper()
	_, _, err := h.spool.Prepare(h.t.Context(), h.transactionDraft(id, numbers...))
	h.must(err)
}

func (h *house) transactionDraft(id string, numbers ...int) spool.TransactionDraft {
	h.t.Helper()
	d := spool.TransactionDraft{ID: id, Key: "key of " + id, Fingerprint: [16]byte{byte(numbers[0])}, Check: spool.Check{
		URL: "http://127.0.0.1:8080/check", After: time.Minute, Interval: time.Minute, Most: 15, Exhausted: spool.TransactionUndecided,
	}}
	for _, n := range numbers {
		m := draft(ofTransactions, n)
		m.DedupeKey = ""
		d.Messages = append(d.Messages, m)
	}
	return d
}

// decide decides a transaction, and confirms what that makes pending. It may be of a
// version that has none.
func (h *house) decide(id string, commit bool) {
	h.t.Helper()
	if !commit {
		_, err := h.spool.RollBackTransaction(h.t.Context(), id, "the application")
		h.must(err)
		return
	}
	tx, err := h.spool.CommitTransaction(h.t.Context(), id, "the application")
	if errors.Is(err, spool.ErrNoTransaction) {
		return
	}
	h.must(err)
	leases := h.lease(ofTransactions, len(tx.Messages))
	h.spool.Confirm(leases, make([]message.Confirmation, len(leases)))
}

func (h *house) transactions() []spool.Transaction {
	h.t.Helper()
	page, err := h.spool.Transactions(h.t.Context(), nil, "", 100)
	h.must(err)
	for _, t := range page.Items {
		if found, err := h.spool.Transaction(h.t.Context(), t.ID); err != nil || found.ID != t.ID {
			h.t.Errorf("transaction %s is not found by its ID: %+v, %v", t.ID, found, err)
		}
	}
	return page.Items
}
