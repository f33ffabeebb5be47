package message

import (
	"fmt"
	"slices"
)

// Outcome is what one attempt came to.
type Outcome uint8

const (
	// OutcomeUnknown: the attempt may have happened; a repeat under the same ID
	// is the only safe answer. It is the zero value, so that nothing forgotten
	// ever counts as confirmed.
	OutcomeUnknown Outcome = iota
	// OutcomeRetryable: known not to be stored by the broker; try again.
	OutcomeRetryable
	// OutcomePermanent: refused for what the message is; trying again is no use.
	OutcomePermanent
	// OutcomeConfirmed: the broker answered SEND_OK.
	OutcomeConfirmed
)

var outcomeNames = [...]string{"unknown", "retryable", "permanent", "confirmed"}

// String returns the word used in JSON, metrics and logs.
func (o Outcome) String() string {
	if int(o) >= len(outcomeNames) {
		return fmt.Sprintf("outcome(%d)", o)
	}
	return outcomeNames[o]
}

// UnmarshalText reads the word that String writes.
func (o *Outcome) UnmarshalText(b []byte) error {
	i := slices.Index(outcomeNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("no outcome is named %.40q", b)
	}
	*o = Outcome(i)
	return nil
}

// MarshalText is String.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }
