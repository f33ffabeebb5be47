package message

import (
	"fmt"
	"slices"
)

// State is where a message is on its way. The table transitions is the only
// place that says which may follow which; docs/state_machine.md is checked
// against it.
type State uint8

// The states of glossary.md, in the order in which a message meets them.
const (
	StateUnknown    State = iota // zero value: no message has it
	StateHalf                    // stored, not to be forwarded until its transaction resolves
	StateUndecided               // half, and its check-backs ran out
	StateDelayed                 // not to be delivered before its time
	StatePending                 // ready, waits for the forwarder
	StateInFlight                // under lease (volatile)
	StateRetrying                // failed, waits for another attempt (volatile)
	StateDead                    // not attempted again without an operator
	StateConfirmed               // settled: the broker answered SEND_OK
	StateCancelled               // settled: by the application, before any attempt
	StateRolledBack              // settled: its transaction was rolled back
	StateDiscarded               // settled: an operator deleted a dead letter
	StateLost                    // settled: destroyed by the storage, and named
)

var stateNames = [...]string{
	"unknown", "half", "undecided", "delayed", "pending", "in_flight", "retrying", "dead",
	"confirmed", "cancelled", "rolled_back", "discarded", "lost",
}

// transitions[s] are the states that may follow s.
var transitions = map[State][]State{
	StateUnknown:   {StateHalf, StateDelayed, StatePending},
	StateHalf:      {StatePending, StateDelayed, StateRolledBack, StateConfirmed, StateUndecided, StateCancelled, StateLost},
	StateUndecided: {StatePending, StateDelayed, StateRolledBack, StateConfirmed, StateLost},
	StateDelayed:   {StatePending, StateCancelled, StateLost},
	StatePending:   {StateInFlight, StateDead, StateCancelled, StateLost},
	StateInFlight:  {StateConfirmed, StateRetrying, StateDead, StatePending, StateLost},
	StateRetrying:  {StateInFlight, StatePending, StateDead, StateCancelled, StateLost},
	StateDead:      {StatePending, StateDiscarded, StateLost},
}

// States lists every state that a message can have.
func States() []State {
	all := make([]State, 0, len(stateNames)-1)
	for s := StateHalf; s <= StateLost; s++ {
		all = append(all, s)
	}
	return all
}

// CanBecome reports whether next may follow s. Settled states have no next.
func (s State) CanBecome(next State) bool { return slices.Contains(transitions[s], next) }

// Settled reports whether the message has left the spool for good.
func (s State) Settled() bool { return s >= StateConfirmed }

// Volatile reports whether the state lives in memory only and is pending again
// after a restart.
func (s State) Volatile() bool { return s == StateInFlight || s == StateRetrying }

// String returns the word used in JSON, metrics and logs.
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return fmt.Sprintf("state(%d)", s)
	}
	return stateNames[s]
}

// MarshalText is String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseState.
func (s *State) UnmarshalText(b []byte) (err error) {
	*s, err = ParseState(string(b))
	return err
}

// ParseState reads the word that String writes.
func ParseState(name string) (State, error) {
	i := slices.Index(stateNames[:], name)
	if i <= 0 {
		return StateUnknown, fmt.Errorf("no state is named %q", name)
	}
	return State(i), nil
}
