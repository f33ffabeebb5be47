package httpapi

import (
	"encoding/json"
	"fmt"

	"github.com/remora-mq/remora/internal/wire"
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
	AcceptedAt wire.Time             `json:"accepted_at"`
	DeliverAt  *wire.Time            `json:"deliver_at,omitempty"` // while it is delayed, or if the broker's timer has it
	BrokerType string                `json:"broker_type,omitempty"`
	Broker     *message.Confirmation `json:"broker,omitempty"`
}

// storyJSON is a receipt with what happened so far.
type storyJSON struct {
	receiptJSON

	SettledAt      *wire.Time   `json:"settled_at,omitempty"`
	Held           bool         `json:"held,omitempty"` // by an operator
	Attempts       int          `json:"attempts"`
	LastError      string       `json:"last_error,omitempty"`
	NextAttemptAt  *wire.Time   `json:"next_attempt_at,omitempty"`
	MaybeDelivered bool         `json:"maybe_delivered,omitempty"`
	History        []wire.Event `json:"history"`
	HistorySkipped int          `json:"history_skipped,omitempty"`
}

func (s *Server) receiptOf(r *message.Receipt) receiptJSON {
	return receiptJSON{
		ID: r.ID, Topic: r.Topic, State: r.State,
		Stored:    holds(r.State),
		Confirmed: r.State == message.StateConfirmed, Duplicate: r.Duplicate,
		Survives: s.opts.Survives, AcceptedAt: wire.Time(r.AcceptedAt), DeliverAt: wire.OptionalTime(r.DeliverAt),
		BrokerType: s.opts.BrokerType, Broker: r.Confirmation,
	}
}

// holds reports whether the message of a receipt exists: here, or at the broker.
func holds(state message.State) bool { return !state.Settled() || state == message.StateConfirmed }

func (s *Server) storyOf(r message.Receipt) storyJSON {
	return storyJSON{
		receiptJSON: s.receiptOf(&r), SettledAt: wire.OptionalTime(r.SettledAt), Held: r.OnHold,
		Attempts: r.Attempts, LastError: r.LastError, NextAttemptAt: wire.OptionalTime(r.NextAttemptAt),
		MaybeDelivered: r.MaybeSent && r.State == message.StateDead,
		History:        wire.EventsOf(&r.History), HistorySkipped: r.History.Skipped,
	}
}

func (s *Server) jsonResponse(status int, v any) response {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("marshal %T: %v", v, err)) // structs of strings and numbers always marshal
	}
	return response{status: status, contentType: typeJSON, body: append(body, '\n')}
}
