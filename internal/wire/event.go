package wire

import "github.com/remora-mq/remora/message"

// Event is one line of a message's history.
type Event struct {
	At      Time             `json:"at"`
	Event   string           `json:"event"`
	Outcome *message.Outcome `json:"outcome,omitempty"` // of an attempt
	Detail  string           `json:"detail,omitempty"`
}

// EventsOf are those that a history keeps; never nil, which JSON would not write as a list.
func EventsOf(h *message.History) []Event {
	kept := h.Events()
	out := make([]Event, len(kept))
	for i := range kept {
		e := &kept[i]
		out[i] = Event{At: Time(e.At), Event: e.Name, Detail: e.Detail}
		if e.Name == "attempt" {
			out[i].Outcome = &e.Outcome
		}
	}
	return out
}
