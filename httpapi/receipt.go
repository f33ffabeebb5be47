package httpapi

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/remora-mq/remora/message"
)

// receiptJSON is the receipt of the contract.
type receiptJSON struct {
	ID         message.ID            `json:"id"`
	Topic      string                `json:"topic"`
	State      message.State         `json:"state"`
	Stored     bool                  `json:"stored"`
	Confirmed  bool                  `json:"confirmed"`
	Duplicate  bool                  `json:"duplicate"`
	Survives   string                `json:"survives"`
	AcceptedAt timestamp             `json:"accepted_at"`
	DeliverAt  *timestamp            `json:"deliver_at,omitempty"` // while it is delayed
	BrokerType string                `json:"broker_type,omitempty"`
	Broker     *message.Confirmation `json:"broker,omitempty"`
}

// storyJSON is a receipt with what happened so far.
type storyJSON struct {
	receiptJSON

	SettledAt      *timestamp  `json:"settled_at,omitempty"`
	Held           bool        `json:"held,omitempty"` // by an operator
	Attempts       int         `json:"attempts"`
	LastError      string      `json:"last_error,omitempty"`
	NextAttemptAt  *timestamp  `json:"next_attempt_at,omitempty"`
	MaybeDelivered bool        `json:"maybe_delivered,omitempty"`
	History        []eventJSON `json:"history"`
	HistorySkipped int         `json:"history_skipped,omitempty"`
}

type eventJSON struct {
	At      timestamp        `json:"at"`
	Event   string           `json:"event"`
	Outcome *message.Outcome `json:"outcome,omitempty"`
	Detail  string           `json:"detail,omitempty"`
}

// timestamp marshals as RFC 3339, UTC, in milliseconds.
type timestamp time.Time

func (t timestamp) MarshalText() ([]byte, error) { return t.append(make([]byte, 0, 32)), nil }

// optionalTime returns nil for the zero time, which JSON leaves out.
func optionalTime(t time.Time) *timestamp {
	if t.IsZero() {
		return nil
	}
	return new(timestamp(t))
}

func (s *Server) receiptOf(r *message.Receipt) receiptJSON {
	return receiptJSON{
		ID: r.ID, Topic: r.Topic, State: r.State,
		Stored:    holds(r.State),
		Confirmed: r.State == message.StateConfirmed, Duplicate: r.Duplicate,
		Survives: s.opts.Survives, AcceptedAt: timestamp(r.AcceptedAt), DeliverAt: optionalTime(r.DeliverAt),
		BrokerType: s.opts.BrokerType, Broker: r.Confirmation,
	}
}

// holds reports whether the message of a receipt exists: here, or at the broker.
func holds(state message.State) bool { return !state.Settled() || state == message.StateConfirmed }

func (s *Server) storyOf(r message.Receipt) storyJSON {
	story := storyJSON{
		receiptJSON: s.receiptOf(&r), SettledAt: optionalTime(r.SettledAt), Held: r.OnHold,
		Attempts: r.Attempts, LastError: r.LastError, NextAttemptAt: optionalTime(r.NextAttemptAt),
		MaybeDelivered: r.MaybeSent && r.State == message.StateDead,
		History:        []eventJSON{}, HistorySkipped: r.History.Skipped,
	}
	for _, e := range r.History.Events() {
		story.History = append(story.History, eventOf(e))
	}
	return story
}

func eventOf(e message.Event) eventJSON {
	out := eventJSON{At: timestamp(e.At), Event: e.Name, Detail: e.Detail}
	if e.Name == "attempt" {
		out.Outcome = &e.Outcome
	}
	return out
}

func (s *Server) jsonResponse(status int, v any) response {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("marshal %T: %v", v, err)) // structs of strings and numbers always marshal
	}
	return response{status: status, contentType: typeJSON, body: append(body, '\n')}
}
