package admin

import (
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// pageJSON is one page of a list. Unreadable counts what was passed over
// because it is damaged: GET /v1/ledger names it.
type pageJSON struct {
	Items      []itemJSON `json:"items"`
	Next       string     `json:"next_cursor,omitempty"`
	Unreadable int        `json:"unreadable,omitempty"`
}

// itemJSON is a message in a list.
type itemJSON struct {
	ID            message.ID    `json:"id"`
	Topic         string        `json:"topic"`
	TopicSeq      uint64        `json:"topic_sequence,omitempty"` // under the origin that its ID begins with
	State         message.State `json:"state"`
	Held          bool          `json:"held,omitempty"` // by an operator
	AcceptedAt    timestamp     `json:"accepted_at"`
	DeliverAt     *timestamp    `json:"deliver_at,omitempty"` // while it is delayed
	TTL           string        `json:"ttl,omitempty"`
	ExpiresAt     *timestamp    `json:"expires_at,omitempty"` // while it waits for its confirmation
	Size          int           `json:"size,omitempty"`       // bytes
	Tag           string        `json:"tag,omitempty"`
	Keys          []string      `json:"keys,omitempty"`
	OrderingKey   string        `json:"ordering_key,omitempty"`
	Attempts      int           `json:"attempts"`
	LastError     string        `json:"last_error,omitempty"`
	NextAttemptAt *timestamp    `json:"next_attempt_at,omitempty"`
	SettledAt     *timestamp    `json:"settled_at,omitempty"`
	MaybeSent     bool          `json:"maybe_sent,omitempty"` // an attempt may have reached the broker
	Reason        string        `json:"reason,omitempty"`     // of a dead letter
	BlockedBy     *message.ID   `json:"blocked_by,omitempty"` // the dead letter of its ordering key that it waits for
}

// storyJSON is all that is known of a message.
type storyJSON struct {
	itemJSON

	ContentType     string                `json:"content_type,omitempty"`
	ContentEncoding string                `json:"content_encoding,omitempty"`
	Properties      []message.Property    `json:"properties,omitempty"`
	BodySize        int                   `json:"body_size,omitempty"` // bytes
	Body            []byte                `json:"body_base64,omitempty"`
	Broker          *message.Confirmation `json:"broker,omitempty"`
	History         []eventJSON           `json:"history"`
	HistorySkipped  int                   `json:"history_skipped,omitempty"`
}

type eventJSON struct {
	At      timestamp        `json:"at"`
	Event   string           `json:"event"`
	Outcome *message.Outcome `json:"outcome,omitempty"`
	Detail  string           `json:"detail,omitempty"`
}

// timestamp marshals as RFC 3339, UTC, in milliseconds.
type timestamp time.Time

func (t timestamp) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(make([]byte, 0, 32), "2006-01-02T15:04:05.000Z"), nil
}

// optionalTime returns nil for the zero time, which JSON leaves out.
func optionalTime(t time.Time) *timestamp {
	if t.IsZero() {
		return nil
	}
	return new(timestamp(t))
}

func itemOf(i *spool.Item) itemJSON {
	out := itemJSON{
		ID: i.ID, Topic: i.Topic, TopicSeq: i.TopicSeq, State: i.State, Held: i.OnHold, AcceptedAt: timestamp(i.AcceptedAt), DeliverAt: optionalTime(i.DeliverAt), Size: i.Size,
		Attempts: i.Attempts, LastError: i.LastError, NextAttemptAt: optionalTime(i.NextAttemptAt), SettledAt: optionalTime(i.SettledAt), MaybeSent: i.MaybeSent, Reason: i.Reason,
	}
	if i.BlockedBy != (message.ID{}) {
		out.BlockedBy = &i.BlockedBy
	}
	if m := i.Message; m != nil {
		out.Tag, out.Keys, out.OrderingKey = m.Tag, m.Keys, m.OrderingKey
		out.TopicSeq = m.TopicSeq
		if m.TTL > 0 {
			out.TTL, out.ExpiresAt = m.TTL.String(), optionalTime(m.ExpiresAt)
		}
	}
	return out
}

func storyOf(i *spool.Item, withBody bool) storyJSON {
	out := storyJSON{
		itemJSON: itemOf(i), Broker: i.Confirmation,
		History: []eventJSON{}, HistorySkipped: i.History.Skipped,
	}
	if m := i.Message; m != nil {
		out.ContentType, out.ContentEncoding, out.Properties, out.BodySize = m.ContentType, m.ContentEncoding, m.Properties, len(m.Body)
		if withBody {
			out.Body = m.Body
		}
	}
	for _, e := range i.History.Events() {
		event := eventJSON{At: timestamp(e.At), Event: e.Name, Detail: e.Detail}
		if e.Name == "attempt" {
			event.Outcome = &e.Outcome
		}
		out.History = append(out.History, event)
	}
	return out
}
