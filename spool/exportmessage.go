package spool

import (
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/message"
)

// maxLine bounds a line in bytes: the bodies of a transaction in base64, and room for
// all else that its messages may carry.
const maxLine = 40 << 20

// exported is a message in its line.
type exported struct {
	ID              message.ID         `json:"id"`
	Topic           string             `json:"topic"`
	State           message.State      `json:"state"` // pending, delayed or dead; half in a transaction
	Held            bool               `json:"held,omitempty"`
	AcceptedAt      time.Time          `json:"accepted_at"`
	DeliverAt       *time.Time         `json:"deliver_at,omitempty"`     // of a delayed message, or a dead letter for a broker's timer
	TTL             string             `json:"ttl,omitempty"`            // that goes on
	ExpiresAt       *time.Time         `json:"expires_at,omitempty"`     // if it has begun
	Origin          string             `json:"origin,omitempty"`         // spool that accepted it, and gave it ID and number
	TopicSequence   uint64             `json:"topic_sequence,omitempty"` // its number there
	Idempotency     *exportedKey       `json:"idempotency,omitempty"`
	Tag             string             `json:"tag,omitempty"`
	Keys            []string           `json:"keys,omitempty"`
	OrderingKey     string             `json:"ordering_key,omitempty"`
	ContentType     string             `json:"content_type,omitempty"`
	ContentEncoding string             `json:"content_encoding,omitempty"`
	TraceParent     string             `json:"traceparent,omitempty"`
	TraceState      string             `json:"tracestate,omitempty"`
	Properties      []message.Property `json:"properties,omitempty"`
	Body            []byte             `json:"body_base64"`

	// Of a dead letter.
	Reason         string          `json:"reason,omitempty"`
	LastError      string          `json:"last_error,omitempty"`
	Attempts       int             `json:"attempts,omitempty"`
	MaybeSent      bool            `json:"maybe_sent,omitempty"`
	History        []exportedEvent `json:"history,omitempty"`
	HistorySkipped int             `json:"history_skipped,omitempty"`
}

type exportedEvent struct {
	At      time.Time       `json:"at"`
	Event   string          `json:"event"`
	Outcome message.Outcome `json:"outcome"`
	Detail  string          `json:"detail,omitempty"`
}

// exportedOf is what i is now.
func exportedOf(i *Item, key *exportedKey, now time.Time) exported {
	m := i.Message
	out := exported{
		ID: i.ID, Topic: i.Topic, State: message.StatePending, Held: i.OnHold, AcceptedAt: i.AcceptedAt.UTC(),
		Origin: i.ID.Spool().String(), TopicSequence: m.TopicSeq, Idempotency: key,
		Tag: m.Tag, Keys: m.Keys, OrderingKey: m.OrderingKey, ContentType: m.ContentType, ContentEncoding: m.ContentEncoding,
		TraceParent: m.TraceParent, TraceState: m.TraceState, Properties: m.Properties, Body: m.Body,
	}
	if i.State == message.StateDelayed {
		at := i.DeliverAt.UTC()
		out.State, out.DeliverAt = i.State, &at
	} else if at := m.TimerAt().UTC(); at.After(now) { // where it is taken in there may be no timer
		out.State, out.DeliverAt = message.StateDelayed, &at
	}
	if i.State == message.StateHalf {
		out.State = i.State
	}
	if i.State != message.StateDead {
		if begins := i.State == message.StateDelayed || i.State == message.StateHalf; begins || !m.ExpiresAt.IsZero() {
			out.keepTTL(m) // else it does not go on: of a message that was redriven
		}
		return out
	}
	out.State, out.Reason, out.LastError, out.Attempts, out.MaybeSent = i.State, i.Reason, i.LastError, i.Attempts, i.MaybeSent
	out.HistorySkipped = i.History.Skipped
	for _, e := range i.History.Events() {
		out.History = append(out.History, exportedEvent{e.At.UTC(), e.Name, e.Outcome, e.Detail})
	}
	return out
}

// keepTTL notes a TTL.
func (x *exported) keepTTL(m *message.Message) {
	if m.TTL == 0 {
		return
	}
	if x.TTL = m.TTL.String(); x.State == message.StatePending {
		at := m.ExpiresAt.UTC()
		x.ExpiresAt = &at
	}
}

// ttl is what keepTTL noted; 0: nothing, or what cannot be.
func (x *exported) ttl() time.Duration {
	ttl, err := time.ParseDuration(x.TTL)
	if err != nil || ttl < 0 || ttl > message.MaxTTL || ttl%time.Millisecond != 0 {
		return 0
	}
	return ttl
}

// item is what exportedOf was made of, as far as it has to be kept.
func (x *exported) item() Item {
	i := Item{Reason: x.Reason, Message: &message.Message{
		ID: x.ID, AcceptedAt: x.AcceptedAt.Truncate(time.Millisecond), TopicSeq: x.TopicSequence, Topic: x.Topic, Tag: x.Tag, Keys: x.Keys, OrderingKey: x.OrderingKey,
		ContentType: x.ContentType, ContentEncoding: x.ContentEncoding, TraceParent: x.TraceParent, TraceState: x.TraceState,
		Properties: x.Properties, Body: x.Body,
	}}
	i.Receipt = message.Receipt{
		ID: x.ID, Topic: x.Topic, State: x.State, OnHold: x.Held, AcceptedAt: i.Message.AcceptedAt,
		Attempts: x.Attempts, LastError: clip(x.LastError), MaybeSent: x.MaybeSent,
	}
	i.Message.TTL = x.ttl()
	if x.ExpiresAt != nil {
		i.Message.ExpiresAt = x.ExpiresAt.Truncate(time.Millisecond)
	}
	if x.DeliverAt != nil && x.State == message.StateDead {
		i.Message.Timer.At = x.DeliverAt.Truncate(time.Millisecond)
	} else if x.DeliverAt != nil {
		i.DeliverAt = x.DeliverAt.Truncate(time.Millisecond)
	}
	i.History.Skipped = max(x.HistorySkipped, 0)
	for _, e := range x.History {
		i.History.Add(message.Event{At: e.At, Name: clip(e.Event), Outcome: e.Outcome, Detail: clip(e.Detail)})
	}
	return i
}

// decodeMessage reads what a line has of a message.
func decodeMessage(raw []byte, version int) (line, error) {
	var x exported
	if err := strict(raw, &x); err != nil {
		return line{}, err
	}
	if x.State != message.StatePending && x.State != message.StateDelayed && x.State != message.StateDead {
		return line{}, fmt.Errorf("%w: the state is %s; it is pending, delayed or dead", ErrExport, x.State)
	}
	if err := errors.Join(x.check(), x.checkTTL(), x.checkVersion(version)); err != nil {
		return line{}, fmt.Errorf("%w: %w", ErrExport, err)
	}
	i := x.item()
	message.SortProperties(i.Message.Properties)
	if err := i.Message.Validate(0); err != nil {
		return line{}, fmt.Errorf("%w: %w", ErrExport, err)
	}
	return line{item: &i, key: x.Idempotency}, nil
}

// check refuses what no export has, and what could not be written again.
func (x *exported) check() error {
	switch {
	case x.ID.IsZero():
		return errors.New("it has no ID")
	case x.State == message.StateDead && x.Held:
		return fmt.Errorf("it is %s, and on hold", x.State)
	case !x.mayWait():
		return errors.New("only a delayed message, or a dead letter without an ordering key, has a time to be delivered at, and one that can be")
	case len(x.History) > 64, len(x.Reason) > maxDetail, x.Attempts < 0, x.Attempts > 1<<40:
		return errors.New("its history, reason or attempts are more than there can be")
	case !datable(x.AcceptedAt):
		return errors.New("it was accepted at a time that cannot be")
	}
	for _, e := range x.History {
		if !datable(e.At) {
			return errors.New("its history has a time that cannot be")
		}
	}
	return nil
}

// mayWait reports whether its time to be delivered at is one that an export has, or is
// absent where one may have none.
func (x *exported) mayWait() bool {
	if x.DeliverAt == nil {
		return x.State != message.StateDelayed
	}
	is := x.State == message.StateDelayed || x.State == message.StateHalf || x.State == message.StateDead && x.OrderingKey == ""
	return is && datable(*x.DeliverAt)
}

// checkTTL refuses one that no export has.
func (x *exported) checkTTL() error {
	pending := x.TTL != "" && x.State == message.StatePending
	switch {
	case x.TTL != "" && (x.ttl() == 0 || x.State == message.StateDead):
		return fmt.Errorf("its TTL is %.40q, which none can have that is %s", x.TTL, x.State)
	case (x.ExpiresAt != nil) != pending, pending && !datable(*x.ExpiresAt):
		return errors.New("only a pending message with a TTL has a time when it expires, and one that can be")
	}
	return nil
}

// checkVersion refuses what the format of the file does not have, and an origin
// that is not that of the ID.
func (x *exported) checkVersion(version int) error {
	if version == 1 {
		if x.Origin != "" || x.Idempotency != nil {
			return errors.New("format 1 has neither origin nor idempotency keys")
		}
		return nil
	}
	switch {
	case version == 2 && x.TTL != "":
		return errors.New("format 2 has no TTL")
	case version < exportVersion && x.State == message.StateDead && x.DeliverAt != nil:
		return fmt.Errorf("format %d has no dead letters with a time to be delivered at", version)
	}
	if origin := x.ID.Spool().String(); x.Origin != origin {
		return fmt.Errorf("its origin is %.20q, its ID is of %s", x.Origin, origin)
	}
	if x.Idempotency == nil {
		return nil
	}
	return x.Idempotency.checkHeld()
}

func datable(at time.Time) bool { return at.Year() >= 1970 && at.Year() < 9000 && at.UnixMilli() >= 0 }
