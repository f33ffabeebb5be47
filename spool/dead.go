package spool

import (
	"fmt"
	"time"

	"github.com/remora-mq/remora/message"
)

// A dead letter has an entry of its own: its reason, its receipt, and the
// record moved out of its block. A payload that is stored apart stays there. Its
// TTL does not go on: who redrives a dead letter wants it sent.

// newDeath makes a dead letter of e. s.mu is held.
func newDeath(e *entry, reason string, now time.Time) *ending {
	e.maybeSent = e.mayHaveBeenSent()
	end := newEnding(e, message.StateDead, now)
	end.dead = encodeDead(end, reason, e.record())
	return end
}

func encodeDead(end *ending, reason string, r message.Record) []byte {
	b := appendText(nil, reason)
	part := appendReceipt(nil, &end.receipt)
	b = appendText(b, string(part))
	return seal(message.AppendAgain(b, &r))
}

// deadLetter is a decoded entry sd.
type deadLetter struct {
	reason string
	receipt
	record message.Record
}

func decodeDead(v []byte) (deadLetter, error) {
	b, err := unseal(v)
	if err != nil {
		return deadLetter{}, fmt.Errorf("read dead letter: %w", err)
	}
	f := fields{b: b}
	d := deadLetter{reason: f.text()}
	part := fields{b: []byte(f.text())}
	part.raw(4)
	d.receipt = decodeReceipt(&part)
	if f.failed || part.failed {
		return deadLetter{}, fmt.Errorf("read dead letter: %w", errDamaged)
	}
	d.record, _, err = message.DecodeRecord(f.b)
	d.record.ExpiresAt = time.Time{}
	if err != nil {
		return deadLetter{}, fmt.Errorf("read dead letter: %w", err)
	}
	return d, nil
}
