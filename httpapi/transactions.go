package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// Transactions is what the listener needs of transactions; *spool.Spool has it.
type Transactions interface {
	// Prepare stores all messages as half, or none, with their transaction.
	Prepare(ctx context.Context, d spool.TransactionDraft) (spool.Transaction, []message.Receipt, error)
	// CommitTransaction and RollBackTransaction decide, for good. nil means durable. They
	// wait no longer than until ctx ends, whatever the disk does.
	CommitTransaction(ctx context.Context, id, by string) (spool.Transaction, error)
	RollBackTransaction(ctx context.Context, id, by string) (spool.Transaction, error)
	// Transaction tells what is known of one, or spool.ErrNoTransaction.
	Transaction(ctx context.Context, id string) (spool.Transaction, error)
	Transactions(ctx context.Context, states []spool.TransactionState, cursor string, limit int) (spool.TransactionPage, error)
}

// prepare answers POST /v1/transactions.
func (s *Server) prepare(r *request, _ string) (response, error) {
	d, err := s.transactionDraft(r)
	if err != nil {
		return response{}, err
	}
	if err := s.topics.admit(d.Messages, r.began); err != nil {
		return response{}, err
	}
	ctx := s.patience.context()
	if d.AtBroker {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(s.work, s.opts.AppendTimeout+brokerPatience)
		defer cancel()
	}
	t, receipts, err := s.opts.Transactions.Prepare(ctx, d)
	r.body.release()
	if err != nil {
		return response{}, preparedNot(err, d.ID != "")
	}
	s.metrics.accepted(r.began)
	res := s.answerTransaction(r, 201, &t, receipts)
	if t.Duplicate {
		res.set("Idempotency-Replayed", "true")
	}
	return res, nil
}

// brokerPatience is for the broker, beside that with the disk.
const brokerPatience = 15 * time.Second

// preparedNot words why nothing was prepared. Of what is named the same request never
// succeeds: its ID is that of the transaction that was rolled back. A key is free again.
func preparedNot(err error, named bool) error {
	if errors.Is(err, transaction.ErrNoHalves) {
		return invalidOption("mode broker needs half messages of RocketMQ: set broker.type to rocketmq, or leave mode out, which works with any broker and with none")
	}
	if n, ok := errors.AsType[*transaction.NotPreparedError](err); ok {
		p := problem.New(problem.BrokerUnavailable, "%v; the transaction is rolled back", n)
		p.Hint = "Send again after Retry-After: that is another transaction, also under the same Idempotency-Key."
		if named {
			p.Retryable = false
			p.Hint = "The id is used up. After Retry-After prepare another transaction, with another id, or with an Idempotency-Key and no id."
		}
		if n.Maybe {
			p.Stored = problem.StoredUnknown
		}
		return p
	}
	if d, ok := errors.AsType[*spool.DraftError](err); ok {
		return (&batch{drafts: make([]spool.Draft, d.Index+1)}).blame(err)
	}
	return err
}

// answerTransaction tells of t. What was prepared has a place, too.
func (s *Server) answerTransaction(r *request, status int, t *spool.Transaction, receipts []message.Receipt) response {
	body := append(s.appendTransaction(r.answer[:0], t, receipts), '\n')
	r.answer = body
	res := response{status: status, contentType: typeJSON, body: body}
	if status == 201 {
		r.answer = append(append(body, "/v1/transactions/"...), url.PathEscape(t.ID)...)
		res.location = r.answer[len(body):]
	}
	return res
}

// transactionDraft reads a request.
func (s *Server) transactionDraft(r *request) (d spool.TransactionDraft, err error) {
	key, err := r.key()
	if err != nil {
		return d, err
	}
	if err := noneOf(r, ofOneMessage&^nameKey, "a transaction; put it into its messages"); err != nil {
		return d, err
	}
	for name := range r.query {
		if name != "idempotency_key" {
			return d, invalidOption("the query parameter %.100q says nothing here; put it into the JSON of the body", name)
		}
	}
	if media := mediaType(r.fields.get(nameContentType)); media != typeJSON {
		return d, problem.New(problem.UnsupportedMedia, "a transaction has Content-Type application/json, not %.100q", media)
	}
	if err := uncompressed(r.fields.list(nameContentEncoding)); err != nil {
		return d, err
	}
	text, err := s.readBatch(r)
	if err != nil {
		return d, err
	}
	members, err := parseObject(text)
	if err != nil {
		return d, err
	}
	x := transactionReader{s: s, r: r, d: spool.TransactionDraft{Key: key}, batch: &batch{limit: s.opts.MaxBatchMessages}}
	for _, m := range members {
		if err := x.set(m); err != nil {
			return d, err
		}
	}
	return x.end()
}

// modeBroker has a broker keep a half message, too.
const modeBroker = "broker"

// transactionReader takes a transaction together.
type transactionReader struct {
	s     *Server
	r     *request
	d     spool.TransactionDraft
	sent  []byte // what tells it from another one
	batch *batch
	check bool
}

func (x *transactionReader) set(m member) error {
	if m.leftOut(transactionNames) {
		return nil
	}
	switch m.name {
	case "id":
		if err := m.text(&x.d.ID); err != nil {
			return err
		}
		return checkTransactionID(x.d.ID)
	case "mode":
		var mode string
		if err := m.text(&mode); err != nil {
			return err
		}
		if mode != "local" && mode != modeBroker {
			return invalidOption("mode %.40q is none; it is local, which is the default, or broker", mode)
		}
		x.d.AtBroker = mode == modeBroker
		return nil
	case "check":
		x.check = true
		return x.setCheck(m)
	case "messages":
		return x.setMessages(m)
	}
	return invalidOption("there is no option %.100q here", m.name)
}

// checkTransactionID holds a chosen ID to what a path carries as it is.
func checkTransactionID(id string) error {
	if id == "" || len(id) > maxKey {
		return invalidOption("the id has %d bytes; from 1 to %d are allowed", len(id), maxKey)
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '~', c == '.' && id != "." && id != "..":
		default:
			return invalidOption("the id has the byte 0x%02x; letters, digits, '-', '_', '.' and '~' are allowed", c)
		}
	}
	return nil
}

// Bounds of check-backs.
const (
	checkAfter    = 60 * time.Second
	checkInterval = 60 * time.Second
	checkMost     = 15
	leastInterval = time.Second
	mostChecks    = 1_000_000
)

var exhaustedStates = map[string]spool.TransactionState{
	"keep": spool.TransactionUndecided, "commit": spool.TransactionCommitted, "rollback": spool.TransactionRolledBack,
}

func (x *transactionReader) setCheck(m member) error {
	c := spool.Check{After: checkAfter, Interval: checkInterval, Most: checkMost, Exhausted: spool.TransactionUndecided}
	exhausted := ""
	members, err := membersOf(m.value)
	if err != nil {
		return invalidOption("check is not an object: %s", detailOf(err))
	}
	for _, o := range members {
		if err := setCheckOption(&c, &exhausted, o); err != nil {
			return err
		}
	}
	state, known := exhaustedStates[exhausted]
	if exhausted != "" && !known {
		return invalidOption("on_exhausted is %.40q; it is keep, commit or rollback", exhausted)
	}
	if known {
		c.Exhausted = state
	}
	x.d.Check = c
	return x.s.checkCheck(c)
}

func setCheckOption(c *spool.Check, exhausted *string, o member) error {
	if o.leftOut(checkNames) {
		return nil
	}
	switch o.name {
	case "url":
		return readWish(o, &c.URL)
	case "after":
		return readWish(o, &c.After)
	case "interval":
		return readWish(o, &c.Interval)
	case "max_attempts":
		return readWish(o, &c.Most)
	case "on_exhausted":
		return readWish(o, exhausted)
	}
	return invalidOption("there is no option %.100q of check", o.name)
}

func (s *Server) checkCheck(c spool.Check) error {
	switch {
	case len(c.URL) > spool.MaxCheckURL:
		return invalidOption("check.url has more than %d bytes", spool.MaxCheckURL)
	case c.After < 0 || c.After > maxSchedule:
		return invalidOption("check.after %v is not between 0 and 10 years", c.After)
	case c.Interval < leastInterval || c.Interval > maxSchedule:
		return invalidOption("check.interval %v is not between %v and 10 years", c.Interval, leastInterval)
	case c.Most < 1 || c.Most > mostChecks:
		return invalidOption("check.max_attempts %d is not between 1 and %d", c.Most, mostChecks)
	}
	if last := s.allowed.Load(); last != nil && *last == c.URL {
		return nil
	}
	if err := s.opts.CheckURLs.Check(c.URL); err != nil {
		return problem.New(problem.CheckNotAllowed, "check.url: %v", err)
	}
	s.allowed.Store(&c.URL)
	return nil
}

func (x *transactionReader) setMessages(m member) error {
	return elementsOf(m.value, func(element json.RawMessage) error {
		return x.batch.add(func(d *spool.Draft) error {
			members, err := membersOf(element)
			p, err := readItem(d, members, err)
			if err != nil {
				return err
			}
			if p.DedupeKey != "" {
				return invalidItem("a message of a transaction has no idempotency_key: the header Idempotency-Key stands for all of it")
			}
			p.TraceParent, p.TraceState = x.r.fields.get(nameTraceParent), x.r.fields.list(nameTraceState)
			err = x.s.draft(&p)
			d.DedupeKey = "" // of a CloudEvent
			sum := fingerprint(&d.Message, p.delay, p.deliverAt, p.ttl)
			x.sent = append(x.sent, sum[:]...)
			return err
		})
	})
}

// end finds what only the whole shows.
func (x *transactionReader) end() (spool.TransactionDraft, error) {
	if err := x.batch.check(); err != nil {
		return x.d, err
	}
	if !x.check {
		return x.d, invalidOption("check is missing: say by check.url where the application is asked, should it not decide")
	}
	x.d.Messages = x.batch.drafts
	if x.d.AtBroker {
		if err := fitsBroker(x.d.Messages); err != nil {
			return x.d, err
		}
		x.sent = append(x.sent, modeBroker...)
	}
	c := x.d.Check
	h, _ := hashers.Get().(*hasher) // New makes no other
	defer hashers.Put(h)
	b := appendSized(h.room[:0], "transaction", x.d.ID, c.URL, c.After.String(), c.Interval.String(), strconv.Itoa(c.Most), c.Exhausted.String())
	h.Reset()
	h.Write(append(b, x.sent...))
	copy(x.d.Fingerprint[:], h.Sum(b[:0]))
	return x.d, nil
}

// fitsBroker refuses what RocketMQ does not do with a half message.
func fitsBroker(drafts []spool.Draft) error {
	d := &drafts[0]
	switch {
	case len(drafts) > 1:
		return invalidOption("mode broker has one message in a transaction, this one has %d: send mode local", len(drafts))
	case d.Delay > 0 || !d.DeliverAt.IsZero() || d.TTL > 0:
		return invalidOption("mode broker has no delay, deliver_at or ttl: send mode local")
	case d.OrderingKey != "":
		return invalidOption("mode broker has no ordering_key: the queue would be that of the prepare, and the order that of the commit; send mode local")
	}
	return nil
}

// commit answers POST /v1/transactions/{id}/commit.
func (s *Server) commit(r *request, id string) (response, error) {
	return s.decide(r, id, s.opts.Transactions.CommitTransaction)
}

// rollBack answers POST /v1/transactions/{id}/rollback.
func (s *Server) rollBack(r *request, id string) (response, error) {
	return s.decide(r, id, s.opts.Transactions.RollBackTransaction)
}

func (s *Server) decide(r *request, id string, do func(ctx context.Context, id, by string) (spool.Transaction, error)) (response, error) {
	if _, err := readWishes(r, nil); err != nil {
		return response{}, err
	}
	t, err := do(s.patience.context(), id, "application")
	if err != nil {
		return response{}, decidedNot(err, t)
	}
	return s.answerTransaction(r, 200, &t, t.Receipts), nil
}

// decidedNot words why a decision was not made. What is half is stored, whatever
// becomes of the decision.
func decidedNot(err error, t spool.Transaction) error {
	p := problemOf(err)
	switch {
	case errors.Is(err, spool.ErrUnknown):
		p.Detail = "it is not known whether the decision is stored; send it again, it is made once"
	case errors.Is(err, spool.ErrDecided):
		p.Detail = "the transaction is " + t.State.String() + ", which stands"
		p.Stored = map[bool]problem.Stored{true: problem.StoredYes, false: problem.StoredNo}[t.State == spool.TransactionCommitted]
	case errors.Is(err, spool.ErrDiskLow):
		p.Detail = "there is no room to move the messages to the end of their topics; the transaction stays half"
	}
	return p
}

// showTransaction answers GET /v1/transactions/{id}.
func (s *Server) showTransaction(r *request, id string) (response, error) {
	t, err := patiently(s, func(ctx context.Context) (spool.Transaction, error) { return s.opts.Transactions.Transaction(ctx, id) })
	if err != nil {
		return response{}, err
	}
	return s.answerTransaction(r, 200, &t, t.Receipts), nil
}

// listTransactions answers GET /v1/transactions.
func (s *Server) listTransactions(r *request, _ string) (response, error) {
	q, err := transaction.ParseQuery(r.query)
	if err != nil {
		return response{}, invalidOption("%s", err.Error())
	}
	page, err := patiently(s, func(ctx context.Context) (spool.TransactionPage, error) {
		return s.opts.Transactions.Transactions(ctx, q.States, q.Cursor, q.Limit)
	})
	if errors.Is(err, spool.ErrCursor) {
		return response{}, invalidOption("%s", err.Error())
	}
	if err != nil {
		return response{}, err
	}
	return s.jsonResponse(200, transaction.PageOf(page)), nil
}
