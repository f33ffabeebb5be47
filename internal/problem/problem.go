package problem

import (
	"encoding/json"
	"fmt"
	"time"
)

// ContentType is the media type of a problem document.
const ContentType = "application/problem+json"

// Stored answers whether what the request carried is on stable storage.
type Stored string

// The three answers. Unknown is honest, not lazy: a sync failed half way.
const (
	StoredNo      Stored = "false"
	StoredYes     Stored = "true"
	StoredUnknown Stored = "unknown"
)

// MarshalJSON writes true, false or "unknown".
func (s Stored) MarshalJSON() ([]byte, error) {
	switch s {
	case StoredNo, StoredYes:
		return []byte(s), nil
	default:
		return []byte(`"unknown"`), nil
	}
}

// Problem is one refusal. It is an error, so that it can travel as one.
//
//nolint:errname // a problem of RFC 9457, which also travels as an error
type Problem struct {
	Kind

	// Detail says what happened this time. It may quote the request, never a body.
	Detail string
	// Stored is the kind's answer unless the caller knows better.
	Stored Stored
	// Limit is the limit that was passed, in the unit that Detail names; 0: none.
	Limit int64
	// RetryAfter is how long to wait before trying again; 0: not said.
	RetryAfter time.Duration
	// Allow is the Allow header of a 405.
	Allow string
	// Items says which items of a batch are at fault.
	Items []Item
	// Cause is the error behind it, for the log; nobody is told.
	Cause error
}

// Item is one item of a batch at fault.
type Item struct {
	Index  int    `json:"index"` // from 0
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// New returns the problem of a code with a detail. A code that is not in the
// table is a bug, and becomes Internal.
func New(code, format string, args ...any) *Problem {
	kind, ok := Lookup(code)
	if !ok {
		kind, _ = Lookup(Internal)
	}
	return &Problem{Kind: kind, Detail: fmt.Sprintf(format, args...), Stored: kind.Stored}
}

// Error names the cause too.
func (p *Problem) Error() string {
	if p.Cause != nil {
		return p.Code + ": " + p.Detail + ": " + p.Cause.Error()
	}
	return p.Code + ": " + p.Detail
}

// WithLimit sets Limit and returns p.
func (p *Problem) WithLimit(limit int64) *Problem {
	p.Limit = limit
	return p
}

// document is the JSON form, in the order in which a person reads it.
type document struct {
	Type         string `json:"type"`
	Title        string `json:"title"`
	Status       int    `json:"status"`
	Code         string `json:"code"`
	Detail       string `json:"detail"`
	Hint         string `json:"hint,omitempty"`
	Retryable    bool   `json:"retryable"`
	Stored       Stored `json:"stored"`
	Limit        int64  `json:"limit,omitempty"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
	Errors       []Item `json:"errors,omitempty"`
}

// JSON returns the document.
func (p *Problem) JSON() []byte {
	b, err := json.Marshal(document{
		Type: Path(p.Code), Title: p.Title, Status: p.Status, Code: p.Code,
		Detail: p.Detail, Hint: p.Hint, Retryable: p.Retryable, Stored: p.Stored,
		Limit: p.Limit, RetryAfterMS: p.RetryAfter.Milliseconds(), Errors: p.Items,
	})
	if err != nil {
		panic(fmt.Sprintf("problem %s: %v", p.Code, err)) // strings and numbers always marshal
	}
	return append(b, '\n')
}

// RetryAfterSeconds is the value of the Retry-After header: RetryAfter in whole
// seconds, rounded up; 0 when there is none.
func (p *Problem) RetryAfterSeconds() int {
	return int((p.RetryAfter + time.Second - 1) / time.Second)
}
