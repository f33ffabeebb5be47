package sidecarproof

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
)

// decision is what a client knows of the decision of a transaction that was prepared.
type decision int

const (
	open decision = iota // nobody has asked for one
	maybeCommitted
	maybeRolledBack
	isCommitted // answered with 200, or told to who asked for it
	isRolledBack
)

// maybe is what is known of a decision whose answer may not count.
func (d decision) maybe() decision {
	switch d {
	case isCommitted:
		return maybeCommitted
	case isRolledBack:
		return maybeRolledBack
	}
	return d
}

// mayBe reports whether a message of a transaction may be in a state.
func (f fate) mayBe(state string) bool {
	switch f.decision {
	case open:
		return state == "half"
	case maybeCommitted:
		return state != "rolled_back"
	case maybeRolledBack:
		return state == "half" || state == "rolled_back"
	case isCommitted:
		return state != "half" && state != "rolled_back"
	default:
		return state == "rolled_back"
	}
}

// dealAnswer is a transaction, or a problem.
type dealAnswer struct {
	receipt
	Messages []receipt
}

// dealID names the transaction whose first message has a number.
func dealID(first int) string { return "deal-" + strconv.Itoa(first) }

// postTransaction prepares one; key "": without an idempotency key.
func (c *client) postTransaction(key string, fields map[string]any) (a dealAnswer, err error) {
	text, err := json.Marshal(fields)
	if err != nil {
		return a, err
	}
	req, err := http.NewRequest(http.MethodPost, c.data+"/v1/transactions", bytes.NewReader(text))
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	a.Status, err = c.do(req, &a)
	return a, err
}

// prepare posts messages as a transaction; every second one has a key.
func (c *client) prepare(all []message, checkURL string) (a dealAnswer, err error) {
	for i := range all {
		all[i].idempotency = ""
	}
	first := all[0].number
	if checkURL == "" {
		checkURL = nobody
	}
	key := ""
	if first%2 == 0 {
		key = "key-of-" + dealID(first)
	}
	a, err = c.postTransaction(key, map[string]any{
		"id": dealID(first), "messages": items(all),
		"check": map[string]any{"url": checkURL, "after": checkAfter(checkURL), "interval": "10s", "max_attempts": 1000},
	})
	if err == nil && a.Status == http.StatusCreated && len(a.Messages) != len(all) {
		err = fmt.Errorf("%w: %d receipts for %d messages", errUntrue, len(a.Messages), len(all))
	}
	return a, err
}

// nobody is where no application is.
const nobody = "http://127.0.0.1:1/tx"

// checkAfter leaves alone what nobody would answer for.
func checkAfter(url string) string {
	if url == nobody {
		return "24h"
	}
	return "500ms"
}

// deal asks for a transaction, or, with what "/commit" or "/rollback", decides it.
func (c *client) deal(id, what string) (a dealAnswer, err error) {
	method := http.MethodPost
	if what == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequest(method, c.data+"/v1/transactions/"+id+what, nil)
	if err != nil {
		return a, err
	}
	a.Status, err = c.do(req, &a)
	return a, err
}

// transact prepares a transaction, and mostly decides it: some are left open, as by
// a client that dies, and of those some are decided by who is asked.
func (w *traffic) transact(rng *rand.Rand) (accepted []int, err error) {
	numbers := w.send(1 + rng.IntN(3))
	id := dealID(numbers[0])
	w.setAll(numbers, func(f *fate) { f.deal = id })
	var all []message
	for _, n := range numbers {
		all = append(all, w.sizes.message(n))
	}
	a, err := w.side().prepare(all, w.asked)
	if err != nil {
		return nil, err
	}
	w.prepared(numbers, a)
	if a.Status != http.StatusCreated {
		return nil, nil
	}
	switch n := rng.IntN(10); {
	case n < 6:
		return w.decide(numbers, "/commit", maybeCommitted, isCommitted)
	case n < 8:
		_, err := w.decide(numbers, "/rollback", maybeRolledBack, isRolledBack)
		return nil, err
	case n < 9 && w.asked != "": // the application knows, and does not call
		knows := [...]decision{maybeCommitted, maybeRolledBack}[rng.IntN(2)]
		w.setAll(numbers, func(f *fate) { f.decision = knows })
	}
	return nil, nil
}

func (w *traffic) prepared(numbers []int, a dealAnswer) {
	w.setAll(numbers, func(f *fate) { f.refused = a.refused() })
	if a.Status == http.StatusCreated {
		for i, n := range numbers {
			w.set(n, func(f *fate) { f.id = a.Messages[i].ID })
		}
	}
	w.complainOf("transaction", numbers[0], a)
}

func (w *traffic) decide(numbers []int, what string, maybe, is decision) (accepted []int, err error) {
	w.setAll(numbers, func(f *fate) { f.decision = maybe })
	a, err := w.side().deal(dealID(numbers[0]), what)
	if err != nil {
		return nil, err
	}
	w.complainOf(what+" of transaction", numbers[0], a)
	if a.Status != http.StatusOK {
		return nil, nil
	}
	w.setAll(numbers, func(f *fate) { f.decision = is })
	if is == isCommitted {
		accepted = numbers
	}
	return accepted, nil
}

func (w *traffic) complainOf(what string, number int, a dealAnswer) {
	switch a.Status {
	case http.StatusOK, http.StatusCreated, http.StatusServiceUnavailable:
	default:
		w.complain(what, number, a.receipt)
	}
}

// answer is what an application says that is asked for a transaction.
func (j *journal) answer(id string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	number, err := strconv.Atoi(id[min(len("deal-"), len(id)):])
	if err != nil || number >= len(j.fates) {
		return "UNKNOWN"
	}
	switch j.fates[number].decision {
	case maybeCommitted, isCommitted:
		return "COMMIT"
	case maybeRolledBack, isRolledBack:
		return "ROLLBACK"
	default:
		return "UNKNOWN"
	}
}

// setAll changes all of a transaction at once.
func (j *journal) setAll(numbers []int, change func(*fate)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, n := range numbers {
		change(&j.fates[n])
	}
}

// deals compares each transaction with what its client knows, prepares and decides it
// again, as a client does that got no answer, and decides what is open.
func (e *examination) deals() {
	for first := range e.fates {
		f := e.fates[first]
		if f.deal != dealID(first) || f.refused {
			continue
		}
		if err := e.oneDeal(first); err != nil {
			e.find(unusable, "transaction %s: %v", f.deal, err)
			return
		}
	}
}

func (e *examination) oneDeal(first int) error {
	var numbers []int
	var all []message
	for n := first; n < len(e.fates) && e.fates[n].deal == dealID(first); n++ {
		numbers, all = append(numbers, n), append(all, e.sizes.message(n))
	}
	f := e.fates[first]
	was, err := e.deal(f.deal, "")
	if err != nil {
		return err
	}
	e.comparedDeal(f, was)
	forgotten := f.id == "" && was.Code == "unknown-transaction" // whoever got no answer to the prepare repeats it
	if f.decision == open || forgotten {                         // else it may be decided by now
		if err := e.prepareAgain(numbers, all, open); err != nil {
			return err
		}
	}
	is := isRolledBack
	if f.decision == maybeCommitted || f.decision == isCommitted || f.decision == open && first%3 > 0 {
		is = isCommitted
	}
	if was.State == "committed" {
		is = isCommitted
	}
	if err := e.decideDeal(numbers, is); err != nil {
		return err
	}
	return e.prepareAgain(numbers, all, is)
}

// prepareAgain does what a client does that got no answer. As what was rolled back
// nothing is prepared again.
func (e *examination) prepareAgain(numbers []int, all []message, is decision) error {
	id := dealID(numbers[0])
	again, err := e.prepare(all, e.asked)
	switch {
	case err != nil:
		return err
	case is == isRolledBack && (again.Status != 409 || again.Code != "transaction-conflict"):
		e.find(untrue, "transaction %s was rolled back, and is prepared again: %+v", id, again)
	case is != isRolledBack && again.Status != 201:
		e.find(untrue, "transaction %s is prepared again: %+v", id, again)
	}
	if again.Status != 201 {
		return nil
	}
	for i, n := range numbers {
		if id := e.fates[n].id; id != "" && again.Messages[i].ID != id {
			e.find(twice, "message %d was prepared as %s, and again as %s", n, id, again.Messages[i].ID)
		}
		e.fates[n].id = again.Messages[i].ID
	}
	return nil
}

// comparedDeal compares what is told of a transaction with what its client knows.
func (e *examination) comparedDeal(f fate, was dealAnswer) {
	wanted := map[decision][]string{
		open: {"half"}, maybeCommitted: {"half", "committed"}, maybeRolledBack: {"half", "rolled_back"}, isCommitted: {"committed"}, isRolledBack: {"rolled_back"},
	}[f.decision]
	known := was.Status == 200
	switch {
	case !known && f.id != "":
		e.find(lost, "transaction %s was prepared, and is answered %+v", f.deal, was)
	case !known && was.Code != "unknown-transaction":
		e.find(untrue, "transaction %s is answered %+v", f.deal, was)
	case known && was.State != wanted[0] && was.State != wanted[len(wanted)-1]:
		e.find(untrue, "transaction %s is %s; its fate is %+v", f.deal, was.State, f)
	}
	if f.decision == maybeCommitted || f.decision == maybeRolledBack {
		return // it may be decided meanwhile
	}
	half := 0
	for _, r := range was.Messages {
		if r.State == "half" {
			half++
		}
	}
	if known && half != 0 && half != len(was.Messages) || (half > 0) != (was.State == "half") {
		e.find(untrue, "transaction %s is %s, and of its messages are %d of %d half", f.deal, was.State, half, len(was.Messages))
	}
}

// decideDeal decides a transaction, or once more, and asks for the opposite.
func (e *examination) decideDeal(numbers []int, is decision) error {
	what, opposite, state := "/commit", "/rollback", "committed"
	if is == isRolledBack {
		what, opposite, state = "/rollback", "/commit", "rolled_back"
	}
	id := dealID(numbers[0])
	done, err := e.deal(id, what)
	if err != nil {
		return err
	}
	refused, err := e.deal(id, opposite)
	if err != nil {
		return err
	}
	if done.Status != 200 || done.State != state || refused.Status != 409 || refused.Code != "transaction-conflict" {
		e.find(untrue, "transaction %s: %s is answered %+v, then %s %+v", id, what, done, opposite, refused)
	}
	for _, n := range numbers {
		e.fates[n].decision = is
	}
	return nil
}
