package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Bounds that keep every commit within what kv takes by default (1.3 MiB, and
// values below 1 MiB).
const (
	maxInline    = 384 << 10 // payload bytes of one call that stay in the records
	chunkSize    = 512 << 10
	chunksCommit = 1 << 20 // chunk bytes of one commit
)

type pair struct{ key, value []byte }

// pairsOp writes chunks. They do not exist before an entry owns their unit.
type pairsOp []pair

func (o pairsOp) write(_ *Broker, tx *kv.Tx) error {
	for _, p := range o {
		tx.Set(p.key, p.value)
	}
	return nil
}

// dropOp deletes keys.
type dropOp [][]byte

func (o dropOp) write(_ *Broker, tx *kv.Tx) error {
	for _, key := range o {
		tx.Delete(key)
	}
	return nil
}

// dropSize is what deleting one key counts for: kv allows an entry each 48 bytes.
const dropSize = 48

// encoder makes entries of messages. What is larger than a commit may hold
// goes into chunks, which have to be written first.
type encoder struct {
	b      *Broker
	inline int
	chunks []pair
}

// entry encodes m, whose payload it may set apart. The broker's clients know
// neither sequence nor accept time of the sidecar that produced a message, so
// neither is stored.
func (c *encoder) entry(m *message.Message) *entry {
	bare := *m
	bare.Seq, bare.AcceptedAt = 0, epoch
	e := &entry{id: m.ID, attempt: 1}
	payload := message.AppendPayload(nil, &bare)
	if c.inline+len(payload) <= maxInline {
		c.inline += len(payload)
		e.record = message.AppendRecord(nil, &bare)
	} else {
		e.record = message.AppendExternalRecord(nil, &bare, payload)
		e.unit = c.b.units.Add(1)
		e.chunks = c.split(e.unit, payload)
		e.bytes = len(payload)
	}
	e.bytes += len(e.record)
	return e
}

func (c *encoder) split(unit uint64, payload []byte) (n int) {
	for ; len(payload) > 0; n++ {
		size := min(chunkSize, len(payload))
		c.chunks = append(c.chunks, pair{chunkKey(unit, n), payload[:size]})
		payload = payload[size:]
	}
	return n
}

// flush makes the chunks durable. After an error nothing refers to them: they
// are dropped, or at the latest swept when the broker opens.
func (c *encoder) flush(ctx context.Context) error {
	for rest := c.chunks; len(rest) > 0; {
		n, size := 0, 0
		for n < len(rest) && size+len(rest[n].value)+dropSize <= chunksCommit+2*dropSize {
			size += len(rest[n].value) + dropSize
			n++
		}
		if err := c.b.queue.Commit(ctx, pairsOp(rest[:n]), size); err != nil {
			c.drop()
			return fmt.Errorf("store the payload: %w", err)
		}
		rest = rest[n:]
	}
	return nil
}

func (c *encoder) drop() {
	keys := make(dropOp, len(c.chunks))
	for i, p := range c.chunks {
		keys[i] = p.key
	}
	if len(keys) > 0 {
		c.b.queue.Post(keys, len(keys)*dropSize)
	}
}

// readEntry reads one entry of a queue.
func readEntry(from getter, topic string, queue int, offset int64) (*entry, error) {
	value, err := from.Get(entryKey(topic, queue, offset))
	if err != nil {
		return nil, fmt.Errorf("read %s/%d offset %d: %w", topic, queue, offset, err)
	}
	e, err := decodeEntry(value)
	if err != nil {
		return nil, fmt.Errorf("read %s/%d offset %d: %w", topic, queue, offset, err)
	}
	return e, nil
}

// message decodes the message of e with its payload.
func (e *entry) message(from getter) (m message.Message, err error) {
	r, _, err := message.DecodeRecord(e.record)
	if err != nil {
		return m, fmt.Errorf("decode message %s: %w", e.id, err)
	}
	if e.unit != 0 {
		payload, err := e.payload(from, r.PayloadSize)
		if err != nil {
			return m, err
		}
		if err := r.SetPayload(payload); err != nil {
			return m, err
		}
	}
	r.AcceptedAt = zeroTime
	return r.Message, nil
}

func (e *entry) payload(from getter, size int) ([]byte, error) {
	payload := make([]byte, 0, size)
	for n := range e.chunks {
		chunk, err := from.Get(chunkKey(e.unit, n))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return nil, fmt.Errorf("read the payload of message %s: %w", e.id, err)
		}
		payload = append(payload, chunk...) // a missing one fails the payload's CRC
	}
	return payload, nil
}
