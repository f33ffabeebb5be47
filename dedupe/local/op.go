package local

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/kv"
)

// hash names a key on disk.
type hash [16]byte

func hashOf(k dedupe.Key) hash {
	sum := sha256.Sum256(pathOf(k))
	return hash(sum[:len(hash{})])
}

// pathOf is scope and key, so that no two pairs have the same.
func pathOf(k dedupe.Key) []byte {
	b := binary.AppendUvarint(nil, uint64(len(k.Scope)))
	return append(append(b, k.Scope...), k.Key...)
}

// op is one operation on its way through a commit. Exactly one of change and
// drop is set. The fields below are its result, for whoever queued it to read
// after the commit succeeded.
type op struct {
	key    hash
	plain  hash // the key's, before there was a secret
	change func(r *record, now time.Duration, op *op) (write bool)
	drop   [][]byte // keys to delete

	mark  dedupe.Mark
	until time.Duration // of mark, on the store's clock
	err   error
}

// sizes of one operation for kv: what Write may set for it, clock included.
const opSize = bucketKeyLen + len(hash{}) + maxMark + 2*16 + maxSecret

// Write applies ops in order; see kv.Participant. It runs on the committer.
func (s *Store) Write(tx *kv.Tx, ops []*op) error {
	now := s.now()
	wrote := false
	for _, o := range ops {
		w, err := s.apply(tx, o, now)
		if err != nil {
			return err
		}
		wrote = wrote || w
	}
	if wrote && s.secretChanged {
		tx.Set(secretKey, s.secret.encode(s.o.Keys))
		s.secretChanged = false
	}
	if wrote {
		tx.Set(clockKey, binary.BigEndian.AppendUint64(nil, uint64(now.Milliseconds())))
	}
	return nil
}

// Synced has nothing to do: Write keeps no state but the list of buckets.
func (s *Store) Synced([]*op) {}

func (s *Store) apply(tx *kv.Tx, o *op, now time.Duration) (wrote bool, err error) {
	for _, k := range o.drop {
		tx.Delete(k)
	}
	if o.change == nil {
		return len(o.drop) > 0, nil
	}
	r, err := s.find(tx, o, now)
	if err != nil {
		return false, err
	}
	if !o.change(&r, now, o) {
		return false, nil
	}
	key := markKey(s.buckets.current(now, s.o.Window), o.key)
	tx.Set(key, s.encrypt(key, r.encode()))
	return true, nil
}

// find returns the youngest mark of the key within the window, or an empty one.
func (s *Store) find(tx *kv.Tx, o *op, now time.Duration) (record, error) {
	for _, bucket := range s.buckets.live(now, s.o.Window) {
		b, err := s.read(tx, bucket, o)
		if errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return record{}, err
		}
		r, err := decode(b)
		if err != nil {
			s.damaged.Add(1)
			return record{}, nil //nolint:nilerr // damage is counted, and never makes a repeat
		}
		return r, nil
	}
	return record{}, nil
}

// read returns the mark of a bucket.
func (s *Store) read(tx *kv.Tx, bucket time.Duration, o *op) ([]byte, error) {
	key := markKey(bucket, o.key)
	b, err := tx.Get(key)
	if errors.Is(err, kv.ErrNotFound) && s.secret != nil && bucket <= s.secret.began {
		return tx.Get(markKey(bucket, o.plain))
	}
	return s.decrypt(key, b), err
}
