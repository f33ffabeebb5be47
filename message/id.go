package message

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"
)

// ID is the identity of a message: assigned at accept, unique, the same over
// every retry and redelivery, and RocketMQ's UNIQ_KEY.
//
//	bytes  0–4   spool ID (random)
//	bytes  5–7   epoch: counts the openings of the spool
//	bytes  8–9   sequence, bits 31–16
//	bytes 10–13  milliseconds since the month began, local time
//	bytes 14–15  sequence, bits 15–0
//
// The time has to stand in bytes 10–13: RocketMQ's tools begin their search
// for a unique key there (MessageClientIDSetter.getNearlyTimeFromID), and they
// read it in local time. Spool, epoch and sequence alone make the ID unique.
type ID [16]byte

// SpoolID names one spool directory, at random.
type SpoolID [5]byte

// String returns ten lower-case hex digits.
func (s SpoolID) String() string { return hex.EncodeToString(s[:]) }

// MaxEpoch is the largest epoch that an ID has room for.
const MaxEpoch = 1<<24 - 1

// ErrBadID reports a text that is not 32 hex digits.
var ErrBadID = errors.New("a message ID is 32 hex digits")

// NewID composes an ID. Only the low 24 bits of epoch and the low 32 bits of
// seq have room: the owner of the spool changes the epoch before either wraps.
func NewID(spool SpoolID, epoch uint32, seq uint64, at time.Time) ID {
	return NewStampedID(spool, epoch, seq, StampOf(at))
}

// Stamp is the time of an ID, as it stands there.
type Stamp uint32

// StampOf is below 2^32: a month has at most 2,682,000,000 ms. It has to look
// into the calendar.
func StampOf(at time.Time) Stamp {
	at = at.Local()
	month := time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, at.Location())
	return Stamp(at.Sub(month).Milliseconds())
}

// NewStampedID is NewID for many IDs of one time.
func NewStampedID(spool SpoolID, epoch uint32, seq uint64, at Stamp) ID {
	var id ID
	copy(id[0:5], spool[:])
	id[5], id[6], id[7] = byte(epoch>>16), byte(epoch>>8), byte(epoch)
	binary.BigEndian.PutUint16(id[8:], uint16(seq>>16))
	binary.BigEndian.PutUint32(id[10:], uint32(at))
	binary.BigEndian.PutUint16(id[14:], uint16(seq))
	return id
}

// ParseID reads 32 hex digits of either case.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return ID{}, ErrBadID
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, ErrBadID
	}
	return id, nil
}

// String returns 32 upper-case hex digits.
func (id ID) String() string {
	var text [2 * len(id)]byte
	return string(id.Append(text[:0]))
}

// Append appends what String returns to b.
func (id ID) Append(b []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range id {
		b = append(b, digits[c>>4], digits[c&0xf])
	}
	return b
}

// MarshalText is String, so that JSON and logs carry the same form.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is ParseID.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}

// IsZero reports whether no ID was assigned.
func (id ID) IsZero() bool { return id == ID{} }

// Spool returns the ID of the spool that accepted the message.
func (id ID) Spool() SpoolID { return SpoolID(id[0:5]) }

// Epoch returns the low 24 bits of the epoch in which it was accepted.
func (id ID) Epoch() uint32 { return uint32(id[5])<<16 | uint32(id[6])<<8 | uint32(id[7]) }

// Seq32 returns the low 32 bits of its accept sequence.
func (id ID) Seq32() uint32 {
	return uint32(binary.BigEndian.Uint16(id[8:]))<<16 | uint32(binary.BigEndian.Uint16(id[14:]))
}
