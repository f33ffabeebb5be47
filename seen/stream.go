package seen

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/message"
)

// maxNames bounds the names of a stream: a group and a topic of RocketMQ.
const maxNames = 100 + 255

// metaVersion is the first byte of a stream's entry; encrypted: a box with the rest
// of it follows.
const (
	metaVersion = 1
	encrypted   = 0xe0 | metaVersion
	maxMeta     = 2 + 2*8 + 2*binary.MaxVarintLen64 + maxNames + 4 + keyring.Overhead + 1
)

// Stream notes what a group has handled of a topic.
type Stream struct {
	store        *Store
	id           uint32
	group, topic string
	since        time.Time

	// guarded by store.mu
	lazy     bool
	unsure   time.Time // notes from before may be missing; zero: none is
	metaOf   string    // key that its entry lies under: of the ring, or none
	rewrites bool      // it has to be written again
}

// Stream begins to note, or goes on, for a group and topic. lazy says that a note
// may be forgotten by a crash although its message does not come again: the dedupe
// marks are not in this database. What it says is on stable storage when it returns.
func (s *Store) Stream(ctx context.Context, group, topic string, lazy bool) (*Stream, error) {
	if len(group)+len(topic) > maxNames {
		return nil, fmt.Errorf("note what is handled: group and topic have %d bytes, at most %d", len(group)+len(topic), maxNames)
	}
	s.mu.Lock()
	st := s.find(group, topic)
	if st == nil {
		s.last++
		st = &Stream{store: s, id: s.last, group: group, topic: topic, since: s.o.Now(), rewrites: true}
		s.streams = append(s.streams, st)
	}
	st.lazy = lazy
	s.mu.Unlock()
	if err := s.queue.Commit(ctx, &op{stream: st, begin: true}, opSize); err != nil {
		return nil, fmt.Errorf("note what is handled: %w", err)
	}
	return st, nil
}

func (s *Store) find(group, topic string) *Stream {
	for _, st := range s.streams {
		if st.group == group && st.topic == topic {
			return st
		}
	}
	return nil
}

// doubt makes the stream unsure from now on. store.mu is held.
func (st *Stream) doubt(now time.Time) { st.unsure, st.rewrites = now, true }

// encode: version, flags, since and unsure in ms (0: never), group, topic, CRC32C.
func (st *Stream) encode(ring *keyring.Ring) []byte {
	v := append(make([]byte, 0, maxMeta), metaVersion, flag(st.lazy, 1))
	v = binary.BigEndian.AppendUint64(v, uint64(st.since.UnixMilli()))
	unsure := uint64(0)
	if !st.unsure.IsZero() {
		unsure = uint64(st.unsure.UnixMilli())
	}
	v = binary.BigEndian.AppendUint64(v, unsure)
	for _, name := range []string{st.group, st.topic} {
		v = append(binary.AppendUvarint(v, uint64(len(name))), name...)
	}
	v = seal(v)
	if ring == nil {
		return v
	}
	return ring.Encrypt(append(make([]byte, 0, maxMeta), encrypted), v, streamKey(metaPrefix, st.id))
}

func decodeStream(key, v []byte, ring *keyring.Ring) (*Stream, error) {
	st := &Stream{}
	if len(key) != len(metaPrefix)+4 {
		return nil, errDamaged
	}
	st.id = binary.BigEndian.Uint32(key[len(metaPrefix):])
	if len(v) > 0 && v[0] == encrypted {
		plain, err := decrypt(ring, v[1:], key)
		if err != nil {
			return nil, err
		}
		if id, ok := keyring.IDOf(v[1:]); ok {
			st.metaOf = string(id[:])
		}
		v = plain
	}
	v, err := unseal(v)
	if err != nil || len(v) < 18 || v[0] != metaVersion {
		return nil, errDamaged
	}
	st.lazy = v[1]&1 != 0
	st.since = time.UnixMilli(int64(binary.BigEndian.Uint64(v[2:])))
	if unsure := binary.BigEndian.Uint64(v[10:]); unsure != 0 {
		st.unsure = time.UnixMilli(int64(unsure))
	}
	v = v[18:]
	for _, name := range []*string{&st.group, &st.topic} {
		n, size := binary.Uvarint(v)
		if size <= 0 || n > uint64(len(v)-size) {
			return nil, errDamaged
		}
		*name, v = string(v[size:][:n]), v[size+int(n):]
	}
	return st, nil
}

func decrypt(ring *keyring.Ring, box, key []byte) ([]byte, error) {
	if ring == nil {
		return nil, errDamaged
	}
	plain, err := ring.Decrypt(box, key)
	if err != nil {
		return nil, errors.Join(errDamaged, err)
	}
	return plain, nil
}

// Handled notes that the handler, or whoever pulled the message, is done with it.
// The note is on stable storage with the next commit of the database that somebody
// waits for, and within its lazy delay.
func (st *Stream) Handled(origin message.SpoolID, number uint64) {
	if number > 0 {
		st.store.queue.Post(st.noteOf(origin, number, Handled), opSize)
	}
}

// Ended notes a repeat, or a dead letter. It is on stable storage when nil is
// returned; the caller goes on in any case.
func (st *Stream) Ended(ctx context.Context, origin message.SpoolID, number uint64, how How) error {
	if number == 0 {
		return nil
	}
	if err := st.store.queue.Commit(ctx, st.noteOf(origin, number, how), opSize); err != nil {
		return fmt.Errorf("note a message as %s: %w", how, err)
	}
	return nil
}

// noteOf is a note; or where there is no room for one, that the stream is unsure, which
// takes no more room the next time.
func (st *Stream) noteOf(origin message.SpoolID, number uint64, how How) *op {
	if st.store.o.Room() == nil {
		return &op{stream: st, origin: origin, number: number, how: how}
	}
	st.store.mu.Lock()
	defer st.store.mu.Unlock()
	st.doubt(st.store.o.Now())
	return &op{stream: st}
}

// origins of the stream, sorted.
func (s *Store) originsOf(stream uint32) (all []message.SpoolID) {
	for p := range s.places {
		if p.stream == stream {
			all = append(all, p.origin)
		}
	}
	slices.SortFunc(all, func(a, b message.SpoolID) int { return slices.Compare(a[:], b[:]) })
	return all
}
