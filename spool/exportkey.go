package spool

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/message"
)

// exportedKey is an idempotency key as it is kept: the first half of the SHA-256
// of topic and key, and the beginning of the fingerprint of what was sent with
// it. No key of a ring goes into either, so any spool knows a repeat by them; and
// who has the file may try guesses out.
type exportedKey struct {
	Hash        keyHash         `json:"hash"`
	Fingerprint fingerprintText `json:"fingerprint"`
}

func (k *exportedKey) checkHeld() error {
	if k.Hash == (keyHash{}) {
		return errors.New("its idempotency key has no hash")
	}
	return nil
}

// settledKey is the key of a message that is settled, with what a repeat is told.
type settledKey struct {
	exportedKey

	ID         message.ID    `json:"id"`
	State      message.State `json:"state"` // confirmed; cancelled or discarded: the key is refused
	AcceptedAt time.Time     `json:"accepted_at"`
	Since      time.Time     `json:"since"` // hour from which the window counts
}

// decodeSettledKey reads what a line has of a key.
func decodeSettledKey(raw []byte) (line, error) {
	var k settledKey
	if err := strict(raw, &k); err != nil {
		return line{}, err
	}
	if err := k.check(); err != nil {
		return line{}, fmt.Errorf("%w: %w", ErrExport, err)
	}
	return line{settled: &k}, nil
}

func (k *settledKey) check() error {
	switch {
	case k.ID.IsZero():
		return errors.New("the message of the key has no ID")
	case k.State != message.StateConfirmed && !k.refuses():
		return fmt.Errorf("the message of the key is %s; it is confirmed, cancelled or discarded", k.State)
	case !datable(k.AcceptedAt) || !datable(k.Since):
		return errors.New("the key has a time that cannot be")
	}
	return k.checkHeld()
}

// refuses reports whether a repeat of the key is refused.
func (k *settledKey) refuses() bool {
	return k.State == message.StateCancelled || k.State == message.StateDiscarded
}

// entry is the key as it is kept, of the message at seq.
func (k *settledKey) entry(seq uint64) keyEntry {
	return keyEntry{k.Hash, keyRef{seq, uint64(k.Fingerprint), k.ID, k.AcceptedAt.UnixMilli()}}
}

// MarshalText writes h in hex.
func (h keyHash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *keyHash) UnmarshalText(text []byte) error { return decodeHex(h[:], text) }

// fingerprintText is a fingerprint that is written in hex.
type fingerprintText uint64

// MarshalText writes f in hex.
func (f fingerprintText) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%016x", uint64(f)), nil
}

// UnmarshalText reads what MarshalText wrote.
func (f *fingerprintText) UnmarshalText(text []byte) error {
	var b [16]byte
	err := decodeHex(b[:8], text)
	*f = fingerprintText(shortFingerprint(b))
	return err
}

// decodeHex fills into, no more and no less.
func decodeHex(into, text []byte) error {
	if len(text) != hex.EncodedLen(len(into)) {
		return fmt.Errorf("%.40q has not %d hex digits", text, hex.EncodedLen(len(into)))
	}
	_, err := hex.Decode(into, text)
	return err
}
