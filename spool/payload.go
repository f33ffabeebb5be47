package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// A payload too large for a record is stored in chunks first; the entry sx,
// written in the same transaction as the record, makes it exist. Chunks without
// it are swept at open.
//
// inlineSmall is the largest payload kept in its record when those of the unit
// are too many.
const inlineSmall = 256

// payload says where the chunks of one payload are.
type payload struct {
	set    uint64 // random
	chunks uint32
	rec    message.Record // its size and CRC32C
}

func (p *payload) encode() []byte {
	b := binary.AppendUvarint(make([]byte, 0, 20), p.set)
	return seal(binary.AppendUvarint(b, uint64(p.chunks)))
}

func decodeChunkSet(v []byte) (set uint64, chunks uint32, err error) {
	b, err := unseal(v)
	if err != nil {
		return 0, 0, fmt.Errorf("read chunk set: %w", err)
	}
	f := fields{b: b}
	set, chunks = f.uint(), uint32(f.uint())
	return set, chunks, f.err("read chunk set")
}

func (p *payload) keys() [][]byte {
	keys := make([][]byte, p.chunks)
	for n := range keys {
		keys[n] = chunkKey(p.set, uint32(n))
	}
	return keys
}

// storePayload queues the chunks of b. They ride in the commits before the
// record's, or in the same one: the queue is first in, first out.
func (s *Spool) storePayload(m *message.Message, b []byte) *payload {
	p := &payload{set: rand.Uint64(), rec: message.ExternalRecord(m, b)}
	for len(b) > 0 {
		n := min(s.sizes.chunk, len(b))
		s.post(&chunkWrite{chunkKey(p.set, p.chunks), encodeChunk(b[:n])})
		p.chunks++
		b = b[n:]
	}
	return p
}

func encodeChunk(b []byte) []byte { return seal(append(make([]byte, 0, len(b)+trailer), b...)) }

// dropPayloads deletes the chunks of what did not come to a commit.
func (s *Spool) dropPayloads(op *appendMessages) {
	for _, n := range op.added {
		if n.payload != nil {
			s.post(&deletion{n.payload.keys()})
		}
	}
}

// commitOrDrop is commit for an operation that has stored payloads of all apart: what it
// is refused with leaves none of them, before the next opening sweeps them.
func (s *Spool) commitOrDrop(ctx context.Context, op operation, all *appendMessages) error {
	err := s.commit(ctx, op)
	if err != nil && !errors.Is(err, ErrUnknown) { // else apply has it
		s.dropPayloads(all)
	}
	return err
}

// heldSize is what the message of a record counts for.
func heldSize(r message.Record) int {
	if r.PayloadSize > 0 {
		return r.PayloadSize + len(r.Topic)
	}
	return r.Size()
}

// surePayload is findPayload for what is to be sent, or falls due, or is decided.
// kv.ErrNotFound: the message has ended.
func (s *Spool) surePayload(r message.Record) (*payload, error) {
	p, err := s.findPayload(r)
	return p, s.surely(err, kv.Scan{Prefix: chunkSetKey(r.Seq)})
}

// findPayload reads where the payload of r is.
func (s *Spool) findPayload(r message.Record) (*payload, error) {
	v, err := s.db.Get(chunkSetKey(r.Seq))
	if err != nil {
		return nil, fmt.Errorf("find payload of message %s: %w", r.ID, err)
	}
	set, chunks, err := decodeChunkSet(v)
	return &payload{set: set, chunks: chunks, rec: r}, err
}

// readPayload returns the whole message whose payload is p.
func (s *Spool) readPayload(ctx context.Context, p *payload) (*message.Message, error) {
	b := make([]byte, 0, p.rec.PayloadSize)
	for _, key := range p.keys() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v, err := s.db.Get(key)
		if err != nil {
			return nil, fmt.Errorf("read payload of message %s: %w", p.rec.ID, err)
		}
		if v, err = unseal(v); err != nil {
			return nil, fmt.Errorf("read payload of message %s: %w", p.rec.ID, err)
		}
		b = append(b, v...)
	}
	r := p.rec
	if err := r.SetPayload(b); err != nil {
		return nil, err
	}
	return &r.Message, nil
}
