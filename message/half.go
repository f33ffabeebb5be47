package message

import "encoding/json"

// HalfPlace is where a broker keeps a half message: all that ending it takes.
type HalfPlace struct {
	Topic           string
	Broker          string // its name, whichever machine has it now
	Address         string // host:port that it had
	Group           string // of producers, which the broker asks for the decision
	Queue           string // where it goes once it is committed, as "broker-a/3"
	QueueOffset     int64  // among the half messages of the broker
	LogOffset       int64  // in the broker's log
	OffsetMessageID string // the same, as the broker's tools name it
	MessageID       string // as the broker's client names it: our own ID
	TransactionID   string // as the broker names the transaction
}

// Known reports whether there is one.
func (p *HalfPlace) Known() bool { return p.Broker != "" }

// Same reports whether q is the same place of the same log, whatever else is told of
// it: only one of two half messages that were there is there, the later one, for the
// broker has lost the other.
func (p *HalfPlace) Same(q HalfPlace) bool { return p.Broker == q.Broker && p.LogOffset == q.LogOffset }

// Confirmation is that of a broker that has committed the half message. It does not
// tell where, nor whether the message was flushed.
func (p *HalfPlace) Confirmation() Confirmation {
	return Confirmation{MessageID: p.MessageID, OffsetMessageID: p.OffsetMessageID, Queue: p.Queue, Offset: OffsetUntold}
}

// OffsetUntold is the offset in the Confirmation of a committed half message: its
// broker answers where the half was, and nothing of the message that it made of it.
const OffsetUntold = -1

// Flushed reports whether the confirmation is a SEND_OK, with all that the broker
// promises by that; not so when it only says that a half message was committed.
func (c Confirmation) Flushed() bool { return c.Offset != OffsetUntold }

// MarshalJSON says of a half message that was committed, in place of an offset, that
// it is unknown whether it is flushed.
func (c Confirmation) MarshalJSON() ([]byte, error) {
	if c.Flushed() {
		type plain Confirmation // without this method
		return json.Marshal(plain(c))
	}
	return json.Marshal(map[string]string{
		"message_id": c.MessageID, "offset_message_id": c.OffsetMessageID, "queue": c.Queue, "flushed": "unknown",
	})
}
