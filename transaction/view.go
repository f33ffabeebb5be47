package transaction

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// View is a transaction as both listeners tell it, in JSON.
type View struct {
	ID         string       `json:"id"`
	State      string       `json:"state"`
	Mode       string       `json:"mode"`
	Key        string       `json:"idempotency_key,omitempty"`
	PreparedAt time.Time    `json:"prepared_at"`
	EndedAt    *time.Time   `json:"ended_at,omitempty"` // since when it is in its state, if that is not half
	DecidedBy  string       `json:"decided_by,omitempty"`
	Check      CheckView    `json:"check"`
	MessageIDs []message.ID `json:"message_ids"`
}

// CheckView is what a View tells of check-backs.
type CheckView struct {
	URL         string     `json:"url"`
	After       string     `json:"after"`
	Interval    string     `json:"interval"`
	MaxAttempts int        `json:"max_attempts"`
	OnExhausted string     `json:"on_exhausted"`
	InVain      int        `json:"in_vain"` // that brought no decision
	LastAnswer  string     `json:"last_answer,omitempty"`
	NextAt      *time.Time `json:"next_at,omitempty"`
}

// PageView is a page of transactions.
type PageView struct {
	Items      []View `json:"items"`
	NextCursor string `json:"next_cursor"`
}

// ViewOf tells of a transaction.
func ViewOf(t spool.Transaction) View {
	return View{
		ID: t.ID, State: t.State.String(), Mode: ModeOf(&t), Key: t.Key, PreparedAt: t.PreparedAt.UTC(), EndedAt: optional(t.EndedAt), DecidedBy: t.DecidedBy,
		MessageIDs: append([]message.ID{}, t.Messages...),
		Check: CheckView{
			URL: t.Check.URL, After: t.Check.After.String(), Interval: t.Check.Interval.String(), MaxAttempts: t.Check.Most,
			OnExhausted: Exhausted(t.Check.Exhausted), InVain: t.Checks, LastAnswer: t.LastCheck, NextAt: optional(t.NextCheckAt),
		},
	}
}

// ModeOf is the word for where the half message of t is.
func ModeOf(t *spool.Transaction) string {
	if t.Half != nil {
		return "broker"
	}
	return "local"
}

// PageOf tells of some.
func PageOf(p spool.TransactionPage) PageView {
	out := PageView{Items: make([]View, len(p.Items)), NextCursor: p.Next}
	for i, t := range p.Items {
		out.Items[i] = ViewOf(t)
	}
	return out
}

// Exhausted is the word for what becomes of a transaction whose check-backs are used up.
func Exhausted(x spool.TransactionState) string {
	switch x {
	case spool.TransactionCommitted:
		return "commit"
	case spool.TransactionRolledBack:
		return "rollback"
	default:
		return "keep"
	}
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}

// Query says which transactions are listed.
type Query struct {
	States []spool.TransactionState
	Cursor string
	Limit  int
}

const (
	defaultLimit = 100
	mostLimit    = 1000
)

// ParseQuery reads the parameters state, cursor and limit. Its errors say what to
// change.
func ParseQuery(v url.Values) (Query, error) {
	q := Query{Limit: defaultLimit}
	for name, values := range v {
		if len(values) != 1 {
			return q, fmt.Errorf("%.100q is given more than once", name)
		}
		var err error
		switch name {
		case "state":
			err = q.setStates(values[0])
		case "cursor":
			q.Cursor = values[0]
		case "limit":
			if q.Limit, err = strconv.Atoi(values[0]); err != nil || q.Limit < 1 || q.Limit > mostLimit {
				err = fmt.Errorf("limit %.40q is not a number from 1 to %d", values[0], mostLimit)
			}
		default:
			err = fmt.Errorf("there is no parameter %.100q; there are state, cursor and limit", name)
		}
		if err != nil {
			return q, err
		}
	}
	return q, nil
}

func (q *Query) setStates(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		state, err := spool.ParseTransactionState(name)
		if err != nil {
			return fmt.Errorf("state %.40q is none; there are half, undecided, committed and rolled_back", name)
		}
		q.States = append(q.States, state)
	}
	return nil
}
