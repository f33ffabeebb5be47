package spool

import (
	"time"

	"github.com/remora-mq/remora/message"
)

// Draft is a message that asks to be accepted: valid (message.Validate), and
// without ID, sequence and time, which the spool assigns.
type Draft struct {
	message.Message

	// A message with a Delay, or a DeliverAt of the wall clock, is delayed until
	// then, and pending from then on. At most one of them is set; a DeliverAt that
	// has passed delays nothing.
	Delay     time.Duration
	DeliverAt time.Time

	// DedupeKey makes a second Append of the same topic and key return the
	// first one's receipt. Empty: no key.
	DedupeKey string
	// Fingerprint tells the same content from other content under one key.
	Fingerprint [16]byte
}
