package message_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/remora-mq/remora/message"
)

// lifecycle are the states of the glossary and what may follow them. lost may
// follow every state that is held: the storage asks nobody.
var lifecycle = map[string][]string{
	"half":      {"pending", "delayed", "rolled_back", "confirmed", "undecided", "cancelled", "lost"},
	"undecided": {"pending", "delayed", "rolled_back", "confirmed", "lost"},
	"delayed":   {"pending", "cancelled", "lost"},
	"pending":   {"in_flight", "dead", "cancelled", "lost"},
	"in_flight": {"confirmed", "retrying", "dead", "pending", "lost"},
	// in_flight: the next attempt; the glossary names only how retrying ends.
	"retrying":    {"in_flight", "pending", "dead", "cancelled", "lost"},
	"dead":        {"pending", "discarded", "lost"},
	"confirmed":   {},
	"cancelled":   {},
	"rolled_back": {},
	"discarded":   {},
	"lost":        {},
}

func TestTransitions(t *testing.T) {
	states := message.States()
	if len(states) != len(lifecycle) {
		t.Errorf("%d states, want %d", len(states), len(lifecycle))
	}
	for _, from := range states {
		next, known := lifecycle[from.String()]
		if !known {
			t.Errorf("the glossary has no state %s", from)
		}
		for _, to := range states {
			if got, want := from.CanBecome(to), slices.Contains(next, to.String()); got != want {
				t.Errorf("%s → %s: %t, want %t", from, to, got, want)
			}
		}
		if from.CanBecome(message.StateUnknown) {
			t.Errorf("%s can become nothing", from)
		}
		if from.Settled() != (len(next) == 0) {
			t.Errorf("%s: settled is %t, with %d states that follow", from, from.Settled(), len(next))
		}
		if want := from.String() == "in_flight" || from.String() == "retrying"; from.Volatile() != want {
			t.Errorf("%s: volatile is %t", from, from.Volatile())
		}
	}
}

func TestAMessageBegins(t *testing.T) {
	var begins []string
	for _, s := range message.States() {
		if message.StateUnknown.CanBecome(s) {
			begins = append(begins, s.String())
		}
	}
	if fmt.Sprint(begins) != "[half delayed pending]" {
		t.Errorf("a message begins as %v", begins)
	}
}

func TestStateNames(t *testing.T) {
	for _, s := range message.States() {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back message.State
		if err := json.Unmarshal(text, &back); err != nil || back != s {
			t.Errorf("%s is read back as %s, %v", text, back, err)
		}
	}
	for _, name := range []string{"", "unknown", "Pending", "state(3)"} {
		if s, err := message.ParseState(name); err == nil {
			t.Errorf("%q is read as %s", name, s)
		}
	}
	if s := message.State(200); s.String() != "state(200)" || s.CanBecome(message.StatePending) {
		t.Errorf("a state that is none: %s", s)
	}
}

func TestOutcomes(t *testing.T) {
	var forgotten message.Outcome
	if forgotten.String() != "unknown" {
		t.Errorf("an outcome nobody set is %s", forgotten)
	}
	for o, want := range map[message.Outcome]string{
		message.OutcomeUnknown: "unknown", message.OutcomeRetryable: "retryable", message.OutcomePermanent: "permanent",
		message.OutcomeConfirmed: "confirmed", 9: "outcome(9)",
	} {
		if text, err := o.MarshalText(); err != nil || string(text) != want {
			t.Errorf("outcome %d is %s, %v", o, text, err)
		}
	}
}
