package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/remora-mq/remora/message"
)

// The entries of the spool in the database. Numbers are big endian, so that
// they sort. Every value ends with the format's version and a CRC32C of itself
// (seal), but a block: its records have their own. With a key ring all values but
// the head are encrypted as well (store.go).
//
//	sh                        head: format, spool ID, epoch, high water, low water
//	st topic                  topic: name, ledger counters, cursor, attempted high water, numbers given
//	sm topic firstSeq         block: the records of one commit and topic
//	si firstSeq               index: topic, count and first number of the block that begins there
//	sb range                  bitmap: which of 4,096 sequences are settled
//	sc set n                  chunk n of a payload stored apart
//	sx seq                    the chunk set of a record's payload; makes the set exist
//	sd topic seq              dead letter: reason, history, record
//	sa topic seq              redriven: since when the dead letter of sd is pending again
//	sy seq topic              delayed or half message: until when, or of which transaction; its dedupe key, record
//	sq clock time seq         when a delayed message is due; when a transaction is to be checked, or ended at its broker, or was decided
//	sp number                 transaction: its state, check-back, messages, half messages at a broker
//	sj name                   number of the transaction that has an ID, or an idempotency key
//	ss                        secret that names are hashed by, with a key ring; whether all are
//	sw topic seq              hold: when an operator put the message on hold
//	sf id                     sequence of a message that was imported under that ID, or delayed; its number there, or since when it is due
//	se seq                    cancelled or discarded under a dedupe key, which stays taken
//	sr bucket part count      receipts of up to 256 neighbouring sequences
//	sk hour part              dedupe keys of one commit
//	sv bucket seq topic kind bytes  what is kept of confirmed messages: a block, or a payload stored apart
//	sn seq                    ended otherwise than confirmed, and its block is still there
//	sg topic firstSeq         order to send messages of the block again
//	su topic                  queues that the ordering keys of the topic are bound to
//	sz topic                  pause: since when an operator keeps the topic from being forwarded
//	so hour topic part count  numbers of one commit and topic that ended otherwise than confirmed
//	sl number                 damage that was found and counted, a report each
var (
	everyPrefix    = []byte("s")
	headKey        = []byte("sh")
	topicPrefix    = []byte("st")
	blockPrefix    = []byte("sm")
	indexPrefix    = []byte("si")
	bitmapPrefix   = []byte("sb")
	chunkPrefix    = []byte("sc")
	chunkSetPrefix = []byte("sx")
	deadPrefix     = []byte("sd")
	againPrefix    = []byte("sa")
	holdPrefix     = []byte("sw")
	delayedPrefix  = []byte("sy")
	duePrefix      = []byte("sq")
	importPrefix   = []byte("sf")
	namePrefix     = []byte("sj")
	secretKey      = []byte("ss")
	endedPrefix    = []byte("se")
	receiptPrefix  = []byte("sr")
	keyPrefix      = []byte("sk")
	exceptPrefix   = []byte("so")
	damagePrefix   = []byte("sl")
	retainPrefix   = []byte("sv")
	barPrefix      = []byte("sn")
	orderPrefix    = []byte("sg")
	bindPrefix     = []byte("su")
	pausePrefix    = []byte("sz")

	transactionPrefix = []byte("sp")
)

// keySizes are the lengths of keys by their prefix, where all have the same.
var keySizes = map[string]int{
	"st": 2 + 4, "sm": 2 + 4 + 8, "si": 2 + 8, "sb": 2 + 8, "sc": 2 + 8 + 4, "sx": 2 + 8,
	"sd": 2 + 4 + 8, "sa": 2 + 4 + 8, "sf": 2 + 16, "sw": 2 + 4 + 8, "se": 2 + 8, "sr": 2 + 8 + 8 + 2, "sk": 2 + 8 + 8, "so": 2 + 8 + 4 + 8 + 2,
	"sy": 2 + 8 + 4, "sq": 2 + 1 + 8 + 8, "sv": retainedKeySize, "sn": 2 + 8, "sg": 2 + 4 + 8, "su": 2 + 4,
	"sp": 2 + 8, "sj": 2 + 16, "ss": 2, "sz": 2 + 4,
}

// fits reports whether a key has the length that its prefix asks for.
func fits(key []byte) bool {
	size, fixed := keySizes[string(key[:min(2, len(key))])]
	return !fixed || size == len(key)
}

func topicKey(topic uint32) []byte { return key32(topicPrefix, topic) }

func bindKey(topic uint32) []byte { return key32(bindPrefix, topic) }

func pauseKey(topic uint32) []byte { return key32(pausePrefix, topic) }

func blockKey(topic uint32, firstSeq uint64) []byte {
	return binary.BigEndian.AppendUint64(key32(blockPrefix, topic), firstSeq)
}

func indexKey(firstSeq uint64) []byte { return key64(indexPrefix, firstSeq) }

func bitmapKey(rng uint64) []byte { return key64(bitmapPrefix, rng) }

func chunkKey(set uint64, n uint32) []byte {
	return binary.BigEndian.AppendUint32(key64(chunkPrefix, set), n)
}

func chunkSetKey(seq uint64) []byte { return key64(chunkSetPrefix, seq) }

func deadKey(topic uint32, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(key32(deadPrefix, topic), seq)
}

func againKey(topic uint32, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(key32(againPrefix, topic), seq)
}

func holdKey(topic uint32, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(key32(holdPrefix, topic), seq)
}

func delayedKey(seq uint64, topic uint32) []byte {
	return binary.BigEndian.AppendUint32(key64(delayedPrefix, seq), topic)
}

func importKey(id message.ID) []byte {
	return append(append(make([]byte, 0, 18), importPrefix...), id[:]...)
}

func endedKey(seq uint64) []byte { return key64(endedPrefix, seq) }

// receiptBucket is how many neighbouring sequences share a receipt bucket, as
// a shift: a settled batch is mostly FIFO and so falls into one or two.
const receiptBucketShift = 8

func receiptKey(bucket, part uint64, count int) []byte {
	k := binary.BigEndian.AppendUint64(key64(receiptPrefix, bucket), part)
	return binary.BigEndian.AppendUint16(k, uint16(count))
}

func dedupeKey(hour, part uint64) []byte {
	return binary.BigEndian.AppendUint64(key64(keyPrefix, hour), part)
}

func barKey(seq uint64) []byte { return key64(barPrefix, seq) }

func orderKey(topic uint32, firstSeq uint64) []byte {
	return binary.BigEndian.AppendUint64(key32(orderPrefix, topic), firstSeq)
}

func exceptionKey(hour uint64, topic uint32, part uint64, count int) []byte {
	k := binary.BigEndian.AppendUint32(key64(exceptPrefix, hour), topic)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(k, part), uint16(count))
}

func key32(prefix []byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, 16), prefix...), n)
}

func key64(prefix []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 24), prefix...), n)
}

// tail32 and tail64 read the number that begins at byte at of a key.
func tail32(key []byte, at int) uint32 { return binary.BigEndian.Uint32(key[at:]) }
func tail64(key []byte, at int) uint64 { return binary.BigEndian.Uint64(key[at:]) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged reports a value whose bytes are not what was written.
var errDamaged = errors.New("damaged entry")

// seal appends the version of the format, and the CRC32C of b and that, to b.
func seal(b []byte) []byte { return sealAs(b, FormatVersion) }

// nothing is the value of an entry whose key says all.
var nothing = seal(nil)

// trailer is how many bytes seal appends.
const trailer = 1 + 4

func sealAs(b []byte, version byte) []byte {
	b = append(b, version)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unseal checks what seal appended and takes it off.
func unseal(b []byte) ([]byte, error) {
	b, version, ok := unsealAny(b)
	switch {
	case !ok:
		return nil, errDamaged
	case version != FormatVersion: // after the CRC: a flipped bit here is damage
		return nil, fmt.Errorf("format %d: %w", version, ErrFormat)
	}
	return b, nil
}

func unsealAny(b []byte) (body []byte, version byte, ok bool) {
	n := len(b) - trailer
	if n < 0 || crc32.Checksum(b[:n+1], castagnoli) != binary.LittleEndian.Uint32(b[n+1:]) {
		return nil, 0, false
	}
	return b[:n], b[n], true
}

// fields reads a sequence of uvarints and strings; after a short read it is
// failed and yields zero values.
type fields struct {
	b      []byte
	failed bool
}

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.failed, f.b = true, nil
		return 0
	}
	f.b = f.b[n:]
	return v
}

// zeros is what a failed read yields: callers take fixed widths up to that of a secret.
var zeros [len(names{}.secret)]byte

func (f *fields) raw(n int) []byte {
	if n < 0 || n > len(f.b) {
		f.failed, f.b = true, nil
		return zeros[:min(max(n, 0), len(zeros))]
	}
	out := f.b[:n]
	f.b = f.b[n:]
	return out
}

func (f *fields) text() string {
	n := f.uint()
	return string(f.raw(int(min(n, 1<<30)))) // raw refuses what is not there
}

func (f *fields) err(what string) error {
	if f.failed {
		return fmt.Errorf("%s: %w", what, errDamaged)
	}
	return nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
