package spool

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/message"
)

// formatTTL is the format of a spool with messages that have a TTL, or with delayed
// ones on hold.
const formatTTL = 3

// formatHalf is the format of a spool with transactions.
const formatHalf = 4

// formatBrokerHalf is the format of a spool with transactions that a broker has half
// messages of.
const formatBrokerHalf = 5

// formatPause is the format of a spool of which a topic was ever paused.
const formatPause = 6

// formatKeyedNames is the format of a spool with transactions whose names are keyed
// hashes. Only one with a key ring comes to it by that: secretKey is there then.
const formatKeyedNames = 7

// formatTimer is the format of a spool with messages that a broker's timer may have.
const formatTimer = 8

// FormatVersion is the version of each entry in keyspace.go by itself: the number
// with which the database is opened.
const FormatVersion = 1

// Format is the newest format of a spool as a whole, which its head tells. A spool
// is of format 1 until it takes a delayed message: a version that knows none still
// reads it. In one of format 2 there are entries and counters that it would not
// see; in one of format 3, records with a TTL, and delayed messages that must not fall
// due; in one of format 4, half messages and transactions; in one of format 5, half messages
// at a broker, which it would leave there for ever, and of those that are committed a
// second copy here, which it would take for damaged; in one of format 6, topics that an
// operator has paused, which it would forward; in one of format 7, transactions that it would
// not find by their IDs and keys, and prepare again; in one of format 8, pending messages that
// are not due, which it would send without their time.
const Format = formatTimer

// ErrFormat reports a spool written by a newer version of this program.
var ErrFormat = errors.New("the spool has a newer format than this version reads; run the version that wrote it, or a newer one")

// head is the one entry that every commit writes.
type head struct {
	spoolID   message.SpoolID
	device    uint64 // of the identity file: a copied volume has another
	inode     uint64
	epoch     uint32       // +1 at each open, and when the 32 bits of an ID's sequence wrap
	highWater uint64       // last sequence given
	lowRange  uint64       // settledSet.low
	topics    uint32       // number of topics ever seen
	keysGone  uint64       // last hour of which dedupe keys were dropped
	damage    uint64       // the database's last damage that was answered with a new spool ID
	format    byte         // what may be in the spool; 0: as 1
	clock     uint64       // time by the spool's own clock, in milliseconds since 1970: it never goes back below it
	wall      uint64       // the wall clock at that time; 0: not known
	step      clockStep    // of the wall clock, that nobody has confirmed yet
	keys      []keyring.ID // of all that is encrypted, the current one first; zero: something is plain
}

func (h *head) encode() []byte {
	b := make([]byte, 0, 64)
	b = append(b, max(h.format, 1))
	b = append(b, h.spoolID[:]...)
	for _, n := range [...]uint64{h.device, h.inode, uint64(h.epoch), h.highWater, h.lowRange, uint64(h.topics), h.keysGone, h.damage} {
		b = binary.AppendUvarint(b, n)
	}
	b = binary.AppendUvarint(b, uint64(len(h.keys)))
	for _, id := range h.keys {
		b = append(b, id[:]...)
	}
	b = binary.AppendUvarint(b, h.clock)
	b = binary.AppendUvarint(b, h.wall)
	if h.step.until > 0 {
		b = h.step.append(b)
	}
	return seal(b)
}

func decodeHead(v []byte) (head, error) {
	b, err := unseal(v)
	if err != nil {
		return head{}, fmt.Errorf("read head: %w", err)
	}
	f := fields{b: b}
	h := head{format: f.raw(1)[0]}
	if h.format == 0 || h.format > Format {
		return head{}, fmt.Errorf("format %d: %w", h.format, ErrFormat)
	}
	copy(h.spoolID[:], f.raw(len(h.spoolID)))
	h.device, h.inode, h.epoch = f.uint(), f.uint(), uint32(f.uint())
	h.highWater, h.lowRange, h.topics, h.keysGone, h.damage = f.uint(), f.uint(), uint32(f.uint()), f.uint(), f.uint()
	for n := f.uint(); n > 0 && !f.failed; n-- {
		h.keys = append(h.keys, keyring.ID(f.raw(len(keyring.ID{}))))
	}
	if len(f.b) > 0 { // else written before messages were delayed
		h.clock = f.uint()
	}
	if len(f.b) > 0 { // else before it was noted with the wall clock
		h.wall = f.uint()
	}
	if len(f.b) > 0 { // else nothing is held
		h.step = readStep(&f)
	}
	return h, f.err("read head")
}
