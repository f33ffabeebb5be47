package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/remora-mq/remora/message"
)

// An export is lines of JSON, each ended by a line feed:
//
//	{"remora_export":1,"spool":"0a1b2c3d4e","created_at":"…"}     the header
//	{"crc32c":"89abcdef","message":{"id":"…","topic":"…",…}}      a line a message
//	{"messages":2,"sha256":"…"}                                   the trailer
//
// crc32c is of the bytes of the message as they stand in the line, sha256 of all
// lines before the trailer. A file without its trailer is not whole.
const exportVersion = 1

// maxLine bounds a line in bytes: the largest body in base64, and room for all
// else that a message may carry.
const maxLine = message.MaxBody*4/3 + 1<<20

// ErrExport reports a line, or a file, that is not what Export wrote.
var ErrExport = errors.New("not what an export has")

type headerLine struct {
	Version   int       `json:"remora_export"`
	Spool     string    `json:"spool"`
	CreatedAt time.Time `json:"created_at"`
}

type messageLine struct {
	CRC     string          `json:"crc32c"`
	Message json.RawMessage `json:"message"`
}

type trailerLine struct {
	Messages *int   `json:"messages"`
	SHA256   string `json:"sha256"`
}

// exported is a message in its line.
type exported struct {
	ID              message.ID         `json:"id"`
	Topic           string             `json:"topic"`
	State           message.State      `json:"state"` // pending or dead
	Held            bool               `json:"held,omitempty"`
	AcceptedAt      time.Time          `json:"accepted_at"`
	TopicSequence   uint64             `json:"topic_sequence,omitempty"` // in the spool that it comes from
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

func exportedOf(i *Item) exported {
	m := i.Message
	out := exported{
		ID: i.ID, Topic: i.Topic, State: message.StatePending, Held: i.OnHold, AcceptedAt: i.AcceptedAt.UTC(), TopicSequence: m.TopicSeq,
		Tag: m.Tag, Keys: m.Keys, OrderingKey: m.OrderingKey, ContentType: m.ContentType, ContentEncoding: m.ContentEncoding,
		TraceParent: m.TraceParent, TraceState: m.TraceState, Properties: m.Properties, Body: m.Body,
	}
	if i.State != message.StateDead {
		return out
	}
	out.State, out.Reason, out.LastError, out.Attempts, out.MaybeSent = i.State, i.Reason, i.LastError, i.Attempts, i.MaybeSent
	out.HistorySkipped = i.History.Skipped
	for _, e := range i.History.Events() {
		out.History = append(out.History, exportedEvent{e.At.UTC(), e.Name, e.Outcome, e.Detail})
	}
	return out
}

// item is what exportedOf was made of, as far as it has to be kept.
func (x *exported) item() Item {
	i := Item{Reason: x.Reason, Message: &message.Message{
		ID: x.ID, AcceptedAt: x.AcceptedAt.Truncate(time.Millisecond), Topic: x.Topic, Tag: x.Tag, Keys: x.Keys, OrderingKey: x.OrderingKey,
		ContentType: x.ContentType, ContentEncoding: x.ContentEncoding, TraceParent: x.TraceParent, TraceState: x.TraceState,
		Properties: x.Properties, Body: x.Body,
	}}
	i.Receipt = message.Receipt{
		ID: x.ID, Topic: x.Topic, State: x.State, OnHold: x.Held, AcceptedAt: i.Message.AcceptedAt,
		Attempts: x.Attempts, LastError: clip(x.LastError), MaybeSent: x.MaybeSent,
	}
	i.History.Skipped = max(x.HistorySkipped, 0)
	for _, e := range x.History {
		i.History.Add(message.Event{At: e.At, Name: clip(e.Event), Outcome: e.Outcome, Detail: clip(e.Detail)})
	}
	return i
}

// appendLine appends the line of a message.
func appendLine(b []byte, x *exported) ([]byte, error) {
	raw, err := json.Marshal(x)
	if err != nil {
		return b, err
	}
	b = fmt.Appendf(b, `{"crc32c":"%08x","message":`, crc32.Checksum(raw, castagnoli))
	return append(append(b, raw...), "}\n"...), nil
}

// decodeLine reads the line of a message.
func decodeLine(line []byte) (Item, error) {
	var l messageLine
	if err := strict(line, &l); err != nil {
		return Item{}, err
	}
	if got := fmt.Sprintf("%08x", crc32.Checksum(l.Message, castagnoli)); got != l.CRC {
		return Item{}, fmt.Errorf("%w: its crc32c is %s, and says %.20q", ErrExport, got, l.CRC)
	}
	var x exported
	if err := strict(l.Message, &x); err != nil {
		return Item{}, err
	}
	if x.State != message.StatePending && x.State != message.StateDead {
		return Item{}, fmt.Errorf("%w: the state is %s; it is pending or dead", ErrExport, x.State)
	}
	if err := x.check(); err != nil {
		return Item{}, fmt.Errorf("%w: %w", ErrExport, err)
	}
	i := x.item()
	message.SortProperties(i.Message.Properties)
	if err := i.Message.Validate(0); err != nil {
		return Item{}, fmt.Errorf("%w: %w", ErrExport, err)
	}
	return i, nil
}

// check refuses what no export has, and what could not be written again.
func (x *exported) check() error {
	switch {
	case x.ID.IsZero():
		return errors.New("it has no ID")
	case x.State == message.StateDead && x.Held:
		return errors.New("it is dead, and on hold")
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

func datable(at time.Time) bool { return at.Year() >= 1970 && at.Year() < 9000 && at.UnixMilli() >= 0 }

// strict decodes one JSON value, in which nothing is unknown and which nothing
// follows.
func strict(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrExport, err)
	}
	if d.More() {
		return fmt.Errorf("%w: something follows the line's value", ErrExport)
	}
	return nil
}
