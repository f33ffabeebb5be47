package spool

import "github.com/remora-mq/remora/message"

// Draft is a message that asks to be accepted: valid (message.Validate), and
// without ID, sequence and time, which the spool assigns.
type Draft struct {
	message.Message

	// DedupeKey makes a second Append of the same topic and key return the
	// first one's receipt. Empty: no key.
	DedupeKey string
	// Fingerprint tells the same content from other content under one key.
	Fingerprint [16]byte
}
