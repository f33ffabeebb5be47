package kvproof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/remora-mq/remora/internal/kv"
)

// Options are those of the project with the smallest memtable, so that some
// fifty records rotate its log.
func Options(dir string) kv.Options {
	return kv.Options{Dir: dir, MemTableSize: 1 << 20}
}

// Key is the key of record n.
func Key(n int) []byte { return fmt.Appendf(nil, "record/%08d", n) }

// Value is the value of record n, some 16 KiB that follow from n.
func Value(n int) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	b := make([]byte, 12_000+rng.IntN(8_000))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// Store writes records as a caller with an idempotency key would have them
// written.
type Store struct {
	db    *kv.DB
	queue *kv.Queue[int]
}

// NewStore attaches a store to db.
func NewStore(db *kv.DB) *Store { return &Store{db, kv.Attach(db, records{})} }

// Accept answers that record n is durable: because it is there already, as a
// retry is answered, or after it was committed.
func (s *Store) Accept(ctx context.Context, n int) error {
	found, err := s.db.Get(Key(n))
	if err == nil && !bytes.Equal(found, Value(n)) {
		return fmt.Errorf("record %d has other bytes", n)
	}
	if errors.Is(err, kv.ErrNotFound) {
		return s.queue.Commit(ctx, n, len(Key(n))+len(Value(n)))
	}
	return err
}

// Refuses reports whether the database refuses to read and to write, as it has
// to after a failed sync.
func (s *Store) Refuses(ctx context.Context, n int) bool {
	_, err := s.db.Get(Key(0))
	return errors.Is(err, kv.ErrFenced) && errors.Is(s.queue.Commit(ctx, n, 1<<15), kv.ErrFenced)
}

type records struct{}

func (records) Write(tx *kv.Tx, ns []int) error {
	for _, n := range ns {
		tx.Set(Key(n), Value(n))
	}
	return nil
}

func (records) Synced([]int) {}
