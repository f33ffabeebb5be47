package spool

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/message"
)

// receipt is what is kept of a settled message.
type receipt struct {
	seq uint64
	message.Receipt
}

func (r *receipt) bucket() uint64 { return r.seq >> receiptBucketShift }

// receipt of a message that was accepted just now.
func (n *newMessage) receipt() message.Receipt {
	r := acceptedReceipt(n.msg)
	switch {
	case n.half != nil:
		r.State = message.StateHalf
	case n.due.seq > 0:
		r.State, r.DeliverAt = message.StateDelayed, n.deliverAt
	}
	return r
}

func acceptedReceipt(m *message.Message) message.Receipt {
	return beginReceipt(m, make([]message.Event, 0, 1))
}

// beginReceipt is acceptedReceipt with the room of its history, which is empty.
func beginReceipt(m *message.Message, events []message.Event) message.Receipt {
	r := message.Receipt{ID: m.ID, Topic: m.Topic, TopicSeq: m.TopicSeq, State: message.StatePending, AcceptedAt: m.AcceptedAt}
	r.History.First = events
	r.History.Add(message.Event{At: m.AcceptedAt, Name: "accepted"})
	return r
}

// appendReceipt appends r to a part of its bucket. An empty confirmation field
// and a broker message ID equal to ours cost one byte each.
func appendReceipt(b []byte, r *receipt) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0) // length, filled in below
	b = binary.AppendUvarint(b, r.seq)
	b = append(b, r.ID[:]...)
	b = appendText(b, r.Topic)
	flags := flagsOf(r)
	b = append(b, byte(r.State), flags)
	b = binary.AppendUvarint(b, uint64(r.AcceptedAt.UnixMilli()))
	b = binary.AppendUvarint(b, uint64(r.SettledAt.UnixMilli()))
	b = binary.AppendUvarint(b, uint64(r.Attempts))
	b = appendText(b, r.LastError)
	if c := r.Confirmation; c != nil {
		id := c.MessageID
		if id == r.ID.String() {
			id = ""
		}
		b = appendText(appendText(appendText(b, id), c.OffsetMessageID), c.Queue)
		b = binary.AppendVarint(b, c.Offset)
	}
	usual := flags&receiptUsual != 0
	if usual {
		b = appendHistory(b, &message.History{}) // earlier versions read one there
	} else {
		b = appendHistory(b, &r.History)
	}
	if r.TopicSeq > 0 || flags&(receiptUsual|receiptTimed) != 0 { // last: earlier versions wrote none, and read what is before it
		b = binary.AppendUvarint(b, r.TopicSeq)
	}
	if usual {
		b = binary.AppendVarint(b, r.SettledAt.UnixMilli()-r.History.First[usualEvents-1].At.UnixMilli())
	}
	if flags&receiptTimed != 0 {
		b = binary.AppendUvarint(b, uint64(r.DeliverAt.UnixMilli()))
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

const (
	receiptConfirmed = 1 << iota // a confirmation follows
	receiptMaybeSent
	receiptUsual // its history is usualHistory: it is not written, only its time is, behind the number
	receiptTimed // the broker's timer has it: its time is last
)

// usualHistory is that of a message that was accepted, and confirmed at the first
// attempt: of nearly all. It would be a third of the receipt.
func usualHistory(events []message.Event, accepted, confirmed time.Time) []message.Event {
	return append(events,
		message.Event{At: accepted, Name: "accepted"},
		message.Event{At: confirmed, Name: "attempt", Outcome: message.OutcomeConfirmed},
		message.Event{At: confirmed, Name: message.StateConfirmed.String()})
}

func (r *receipt) isUsual() bool {
	h := &r.History
	if r.State != message.StateConfirmed || len(h.First) != usualEvents || len(h.Last) > 0 || h.Skipped > 0 {
		return false
	}
	var room [usualEvents]message.Event
	return slices.EqualFunc(h.First, usualHistory(room[:0], r.AcceptedAt, h.First[usualEvents-1].At), sameEvent)
}

// sameEvent compares events as they are written.
func sameEvent(a, b message.Event) bool {
	return a.At.UnixMilli() == b.At.UnixMilli() && a.Name == b.Name && a.Outcome == b.Outcome && a.Detail == b.Detail
}

func flagsOf(r *receipt) (f byte) {
	if r.Confirmation != nil {
		f |= receiptConfirmed
	}
	if r.MaybeSent {
		f |= receiptMaybeSent
	}
	if r.isUsual() {
		f |= receiptUsual
	}
	if r.State == message.StateConfirmed && !r.DeliverAt.IsZero() {
		f |= receiptTimed
	}
	return f
}

func appendHistory(b []byte, h *message.History) []byte {
	b = binary.AppendUvarint(b, uint64(h.Skipped))
	for _, events := range [...][]message.Event{h.First, h.Last} {
		b = binary.AppendUvarint(b, uint64(len(events)))
		for _, e := range events {
			b = binary.AppendUvarint(b, uint64(e.At.UnixMilli()))
			b = append(appendText(b, e.Name), byte(e.Outcome))
			b = appendText(b, e.Detail)
		}
	}
	return b
}

// receipts walks the receipts of a sealed part.
func receipts(part []byte, fn func(receipt) (more bool)) error {
	b, err := unseal(part)
	if err != nil {
		return fmt.Errorf("read receipts: %w", err)
	}
	for len(b) > 0 {
		f := fields{b: b}
		n := int(binary.BigEndian.Uint32(f.raw(4)))
		f.b = f.raw(n)
		r := decodeReceipt(&f)
		if f.failed {
			return fmt.Errorf("read receipts: %w", errDamaged)
		}
		if !fn(r) {
			return nil
		}
		b = b[4+n:]
	}
	return nil
}

func decodeReceipt(f *fields) receipt {
	var r receipt
	r.seq = f.uint()
	copy(r.ID[:], f.raw(len(r.ID)))
	r.Topic = f.text()
	r.State = message.State(f.raw(1)[0])
	flags := f.raw(1)[0]
	r.AcceptedAt, r.SettledAt = f.time(), f.time()
	r.Attempts, r.LastError = int(f.uint()), f.text()
	r.MaybeSent = flags&receiptMaybeSent != 0
	if flags&receiptConfirmed != 0 {
		r.Confirmation = decodeConfirmation(f, r.ID)
	}
	r.History = decodeHistory(f)
	if len(f.b) > 0 {
		r.TopicSeq = f.uint()
	}
	if flags&receiptUsual != 0 {
		at := r.SettledAt.UnixMilli() - f.int()
		r.History = message.History{First: usualHistory(make([]message.Event, 0, usualEvents), r.AcceptedAt, time.UnixMilli(at))}
	}
	if flags&receiptTimed != 0 {
		r.DeliverAt = f.time()
	}
	return r
}

func decodeConfirmation(f *fields, id message.ID) *message.Confirmation {
	c := &message.Confirmation{MessageID: f.text(), OffsetMessageID: f.text(), Queue: f.text(), Offset: f.int()}
	if c.MessageID == "" {
		c.MessageID = id.String()
	}
	return c
}

func decodeHistory(f *fields) (h message.History) {
	h.Skipped = int(f.uint())
	h.First, h.Last = decodeEvents(f), decodeEvents(f)
	return h
}

func decodeEvents(f *fields) (events []message.Event) {
	for range min(f.uint(), 64) {
		events = append(events, message.Event{At: f.time(), Name: f.text(), Outcome: message.Outcome(f.raw(1)[0]), Detail: f.text()})
	}
	return events
}

func (f *fields) time() time.Time { return time.UnixMilli(int64(f.uint())) }

func (f *fields) int() int64 {
	v, n := binary.Varint(f.b)
	if n <= 0 {
		f.failed, f.b = true, nil
		return 0
	}
	f.b = f.b[n:]
	return v
}
