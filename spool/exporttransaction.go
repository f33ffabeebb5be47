package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// exportedTransaction is an open transaction in its line, with all of its messages:
// so it is taken in as a whole.
type exportedTransaction struct {
	exportedHead

	Messages []exportedHalf `json:"messages"`
}

// exportedHead is what the line of any transaction has.
type exportedHead struct {
	ID          string          `json:"id"`
	State       string          `json:"state"` // if it is half it is undecided where it is taken in
	Key         string          `json:"idempotency_key,omitempty"`
	Fingerprint fingerprintFull `json:"fingerprint"`
	PreparedAt  time.Time       `json:"prepared_at"`
	CheckURL    string          `json:"check_url"`
	CheckAfter  string          `json:"check_after"`
	CheckEvery  string          `json:"check_interval"`
	CheckMost   int             `json:"check_max_attempts"`
	Exhausted   string          `json:"on_exhausted"`
}

func (t *Transaction) exportedHead(state TransactionState) exportedHead {
	return exportedHead{
		ID: t.ID, State: state.String(), Key: t.Key, Fingerprint: t.fingerprint, PreparedAt: t.PreparedAt.UTC(),
		CheckURL: t.Check.URL, CheckAfter: t.Check.After.String(), CheckEvery: t.Check.Interval.String(), CheckMost: t.Check.Most, Exhausted: t.Check.Exhausted.String(),
	}
}

// transaction is what h, which was checked, has of one.
func (h *exportedHead) transaction() Transaction {
	exhausted, _ := ParseTransactionState(h.Exhausted)
	return Transaction{
		ID: h.ID, Key: h.Key, fingerprint: h.Fingerprint, PreparedAt: h.PreparedAt.Truncate(time.Millisecond),
		Check: Check{URL: h.CheckURL, After: duration(h.CheckAfter), Interval: duration(h.CheckEvery), Most: h.CheckMost, Exhausted: exhausted},
	}
}

// exportedHalf is a half message. DeliverAt is what it asked for.
type exportedHalf struct {
	exported

	Delay string `json:"delay,omitempty"` // from the commit on
}

// transactions writes those that are open, those that are committed and that a broker has
// not confirmed: their messages are half; and what is known of the others.
func (e *exporter) transactions(ctx context.Context) error {
	for cursor := ""; ; {
		page, err := e.s.Transactions(ctx, nil, cursor, defaultPage)
		if err != nil {
			return err
		}
		for i := range page.Items {
			if err := e.transaction(ctx, &page.Items[i]); err != nil {
				return fmt.Errorf("transaction %s: %w", page.Items[i].ID, err)
			}
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

func (e *exporter) transaction(ctx context.Context, t *Transaction) error {
	if t.released() {
		return e.decided(t)
	}
	state := t.State
	if state.Decided() {
		state = TransactionUndecided // as it is where it is taken in
	}
	x := exportedTransaction{exportedHead: t.exportedHead(state)}
	for _, id := range t.Messages {
		h, err := e.half(ctx, t, id)
		switch {
		case err == nil:
			x.Messages = append(x.Messages, h)
		case ctx.Err() != nil || e.s.db.Err() != nil || e.s.closed():
			return err
		case !errors.Is(err, kv.ErrNotFound):
			e.done.Unreadable++
		default: // it was cancelled, or decided meanwhile
			if now, err := e.s.numbered(t.number); err == nil && now.released() {
				return e.decided(now)
			}
		}
	}
	if len(x.Messages) == 0 {
		return nil
	}
	e.done.Transactions++
	return e.add("transaction", &x)
}

func (e *exporter) half(ctx context.Context, t *Transaction, id message.ID) (h exportedHalf, err error) {
	d, err := e.s.halfEntry(t, id)
	if err != nil {
		return h, err
	}
	record := d.record
	if record.PayloadSize > 0 {
		if err := e.s.fillPayload(ctx, &record); err != nil && !e.s.isSettled(d.record.Seq) {
			return h, fmt.Errorf("%w: %v", errPayload, err) //nolint:errorlint // that it is not found does not say that the message has ended
		} else if err != nil {
			return h, kv.ErrNotFound // it has ended since
		}
	}
	h.exported = exportedOf(&Item{Receipt: d.receipt(), Message: &record.Message}, nil, e.s.now())
	if d.delay > 0 {
		h.Delay = d.delay.String()
	}
	if !d.deliverAt.IsZero() {
		at := d.deliverAt.UTC()
		h.DeliverAt = &at
	}
	return h, nil
}

// decodeTransactionLine reads what a line has of a transaction.
func decodeTransactionLine(raw []byte, version int) (line, error) {
	var x exportedTransaction
	if err := strict(raw, &x); err != nil {
		return line{}, err
	}
	if err := x.check(version); err != nil {
		return line{}, fmt.Errorf("%w: transaction: %w", ErrExport, err)
	}
	drafts := make([]*importedHalf, len(x.Messages))
	for i := range x.Messages {
		item := x.Messages[i].item()
		message.SortProperties(item.Message.Properties)
		if err := item.Message.Validate(0); err != nil {
			return line{}, fmt.Errorf("%w: transaction: message %d: %w", ErrExport, i, err)
		}
		drafts[i] = &importedHalf{item.Message, duration(x.Messages[i].Delay), item.DeliverAt}
	}
	return line{transaction: &importedTransaction{x.transaction(), drafts}}, nil
}

// duration is what check has found to be one.
func duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}

// check refuses what no export has.
func (x *exportedTransaction) check(version int) error {
	switch {
	case version < exportVersionHalf:
		return fmt.Errorf("format %d has none", version)
	case x.State != TransactionHalf.String() && x.State != TransactionUndecided.String():
		return fmt.Errorf("it is %.40q; it is half or undecided", x.State)
	case len(x.Messages) == 0:
		return errors.New("it has no messages")
	}
	if err := x.exportedHead.check(); err != nil {
		return err
	}
	for i := range x.Messages {
		if err := x.Messages[i].checkHalf(version); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return nil
}

func (h *exportedHead) check() error {
	switch {
	case h.ID == "" || len(h.ID) > MaxTransactionID || len(h.Key) > MaxTransactionID || len(h.CheckURL) > MaxCheckURL:
		return errors.New("its ID is missing, or a text of it is longer than there can be")
	case !datable(h.PreparedAt) || !h.checksCanBe():
		return errors.New("its check-backs, or the time at which it was prepared, are none that can be")
	}
	return nil
}

func (h *exportedHead) checksCanBe() bool {
	_, err := ParseTransactionState(h.Exhausted)
	return err == nil && h.CheckMost >= 0 && lasts(h.CheckAfter) && lasts(h.CheckEvery)
}

func (h *exportedHalf) checkHalf(version int) error {
	switch {
	case h.State != message.StateHalf || h.Held || h.Idempotency != nil || len(h.History) > 0:
		return fmt.Errorf("it is %s, on hold, or has what no half message has", h.State)
	case h.Delay != "" && !lasts(h.Delay), h.DeliverAt != nil && !datable(*h.DeliverAt):
		return errors.New("its delay is none that can be")
	}
	return errors.Join(h.exported.check(), h.checkTTL(), h.checkVersion(version))
}

// longest is more than any delay or interval.
const longest = 200 * 365 * 24 * time.Hour

func lasts(text string) bool {
	d, err := time.ParseDuration(text)
	return err == nil && d >= 0 && d < longest
}

// fingerprintFull is a whole fingerprint, written in hex.
type fingerprintFull [16]byte

// MarshalText writes f in hex.
func (f fingerprintFull) MarshalText() ([]byte, error) { return keyHash(f).MarshalText() }

// UnmarshalText reads what MarshalText wrote.
func (f *fingerprintFull) UnmarshalText(text []byte) error { return decodeHex(f[:], text) }

// asksForTransactions reports whether a query has them exported: they are whole
// there, or not at all. It takes their states out of the query.
func (q *Query) asksForTransactions() (asks bool, err error) {
	if q.asksForAll() {
		return true, nil
	}
	half := func(s message.State) bool { return s == message.StateHalf || s == message.StateUndecided }
	if !slices.ContainsFunc(q.States, half) {
		return false, nil
	}
	alone := *q
	if alone.States = nil; !alone.asksForAll() {
		return false, fmt.Errorf("export a part of the half messages: %w: transactions are exported whole", ErrExport)
	}
	q.States = slices.DeleteFunc(slices.Clone(q.States), half)
	return true, nil
}
