package spool

import (
	"math"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Owner tells the database what the spool knows of its entries, so that a
// salvage keeps what is not damaged of them. keys are those of Options.Keys.
func Owner(keys *keyring.Ring) kv.Owner { return owner{store{ring: keys}} }

type owner struct{ store }

// Runs implements kv.Owner: each record of a block, or its frame, has a checksum,
// and so has every other value as a whole.
func (o owner) Runs(key, value []byte) []kv.Run {
	switch {
	case !isOurs(key) || len(value) < trailer:
		return nil
	case !isBlock(key):
		return []kv.Run{{From: 0, To: len(value)}}
	case isEncryptedBlock(value):
		return frameRuns(value)
	}
	return recordRuns(value)
}

func isOurs(key []byte) bool {
	return len(key) >= 2 && entryNames[string(key[:2])] != "" && fits(key)
}

func recordRuns(v []byte) (runs []kv.Run) {
	at := blockHeader
	eachRecord(v, func(_ message.Record, size int, _ error) {
		runs = append(runs, kv.Run{From: at, To: at + size})
		at += size
	})
	return runs
}

func frameRuns(v []byte) (runs []kv.Run) {
	for at := blockHeader; at < len(v); {
		size := len(v) - at - len(nextFrame(v[at+1:])) // as far as the next one that is whole
		if f, whole := frameAt(v[at:]); whole {
			size = f.size
		}
		runs = append(runs, kv.Run{From: at, To: at + size})
		at += size
	}
	return runs
}

// Proves implements kv.Owner for what is written once, and does no harm when it comes
// back: a bitmap tells that a record, in a block or a dead letter, is settled, or was
// delayed and is a record elsewhere; a part of a payload is checked by its record; a
// receipt tells of what never changes any more; a secret makes names, all of which are
// written again then; a pause that comes back is seen, and one
// that is lost sends what it should not.
func (o owner) Proves(key, value []byte) bool {
	if !isOurs(key) {
		return false
	}
	v := o.decrypt(key, value)
	switch string(key[:2]) {
	case string(blockPrefix):
		return provesBlock(tail64(key, len(blockPrefix)+4), v)
	case string(deadPrefix):
		d, err := decodeDead(v)
		return err == nil && d.record.Seq == tail64(key, len(deadPrefix)+4)
	case string(delayedPrefix):
		d, err := decodeDelayed(v)
		return err == nil && d.record.Seq == tail64(key, len(delayedPrefix))
	case string(chunkPrefix):
		_, err := unseal(v)
		return err == nil
	case string(pausePrefix):
		p, err := decodePause(v)
		return err == nil && p.id == tail32(key, len(pausePrefix))
	case string(secretKey):
		_, err := decodeSecret(v)
		return err == nil
	case string(receiptPrefix):
		return provesReceipts(key, v)
	}
	return false
}

// provesBlock compares the first or the last record with the sequence in the key.
func provesBlock(firstSeq uint64, v []byte) bool {
	first, last, at := uint64(math.MaxUint64), uint64(math.MaxUint64), blockHeader
	eachRecord(v, func(r message.Record, size int, err error) {
		if err == nil && at == blockHeader {
			first = r.Seq
		}
		if at += size; err == nil && at == len(v) {
			last = r.Seq
		}
	})
	return first == firstSeq || last == firstSeq+uint64(blockCount(v))-1
}

func provesReceipts(key, v []byte) bool {
	n, right := 0, true
	err := receipts(v, func(r receipt) bool {
		n++
		right = right && r.bucket() == tail64(key, len(receiptPrefix))
		return true
	})
	at := len(receiptPrefix) + 16
	return err == nil && right && n == int(key[at])<<8|int(key[at+1])
}
