package admin

import (
	"github.com/remora-mq/remora/internal/wire"
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
	AcceptedAt    wire.Time     `json:"accepted_at"`
	DeliverAt     *wire.Time    `json:"deliver_at,omitempty"` // while it is delayed, or if the broker's timer has it
	TTL           string        `json:"ttl,omitempty"`
	ExpiresAt     *wire.Time    `json:"expires_at,omitempty"` // while it waits for its confirmation
	Size          int           `json:"size,omitempty"`       // bytes
	Tag           string        `json:"tag,omitempty"`
	Keys          []string      `json:"keys,omitempty"`
	OrderingKey   string        `json:"ordering_key,omitempty"`
	Attempts      int           `json:"attempts"`
	LastError     string        `json:"last_error,omitempty"`
	NextAttemptAt *wire.Time    `json:"next_attempt_at,omitempty"`
	SettledAt     *wire.Time    `json:"settled_at,omitempty"`
	MaybeSent     bool          `json:"maybe_sent,omitempty"`   // an attempt may have reached the broker
	Reason        string        `json:"reason,omitempty"`       // of a dead letter
	BlockedBy     *message.ID   `json:"blocked_by,omitempty"`   // the dead letter of its ordering key that it waits for
	TopicPaused   bool          `json:"topic_paused,omitempty"` // it waits for that to be resumed
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
	History         []wire.Event          `json:"history"`
	HistorySkipped  int                   `json:"history_skipped,omitempty"`
}

func itemOf(i *spool.Item) itemJSON {
	out := itemJSON{
		ID: i.ID, Topic: i.Topic, TopicSeq: i.TopicSeq, State: i.State, Held: i.OnHold, AcceptedAt: wire.Time(i.AcceptedAt), DeliverAt: wire.OptionalTime(i.DeliverAt), Size: i.Size,
		Attempts: i.Attempts, LastError: i.LastError, NextAttemptAt: wire.OptionalTime(i.NextAttemptAt), SettledAt: wire.OptionalTime(i.SettledAt), MaybeSent: i.MaybeSent, Reason: i.Reason, TopicPaused: i.TopicPaused,
	}
	if i.BlockedBy != (message.ID{}) {
		out.BlockedBy = &i.BlockedBy
	}
	if m := i.Message; m != nil {
		out.Tag, out.Keys, out.OrderingKey = m.Tag, m.Keys, m.OrderingKey
		out.TopicSeq = m.TopicSeq
		if m.TTL > 0 {
			out.TTL, out.ExpiresAt = m.TTL.String(), wire.OptionalTime(m.ExpiresAt)
		}
	}
	return out
}

func storyOf(i *spool.Item, withBody bool) storyJSON {
	out := storyJSON{
		itemJSON: itemOf(i), Broker: i.Confirmation,
		History: wire.EventsOf(&i.History), HistorySkipped: i.History.Skipped,
	}
	if m := i.Message; m != nil {
		out.ContentType, out.ContentEncoding, out.Properties, out.BodySize = m.ContentType, m.ContentEncoding, m.Properties, len(m.Body)
		if withBody {
			out.Body = m.Body
		}
	}
	return out
}
