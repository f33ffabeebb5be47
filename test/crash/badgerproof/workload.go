package badgerproof

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/sync/errgroup"
)

// Mode is how the writer makes a commit durable before it acknowledges it.
type Mode string

// The modes. Only Synced keeps its word. DBSync syncs the newest log alone
// (badger v4.9.6 db.go, DB.Sync): what a writer committed is not in it if
// another one made the log rotate in between.
const (
	Synced   Mode = "synced"   // SyncWrites
	Unsynced Mode = "unsynced" // no sync at all
	DBSync   Mode = "db-sync"  // DB.Sync after the commit
)

const (
	perCommit = 8  // records in a transaction
	writers   = 16 // that commit at the same time
)

// Options are those of the project, shrunk until a few hundred commits rotate,
// flush and compact.
func Options(dir string, mode Mode) badger.Options {
	const kib = 1 << 10
	o := badger.DefaultOptions(dir).
		WithSyncWrites(mode == Synced).
		WithLogger(nil).
		WithMetricsEnabled(false).
		WithDetectConflicts(false).
		WithCompression(options.None).
		WithValueThreshold(16 * kib).
		WithMemTableSize(192 * kib).
		WithNumMemtables(2).
		WithBaseTableSize(64 * kib).
		WithBaseLevelSize(256 * kib).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(4).
		WithNumCompactors(2).
		WithBlockCacheSize(1024 * kib)
	return o.WithValueLogFileSize(1024 * kib)
}

// Key is the key of record n, from 1.
func Key(n int) []byte { return fmt.Appendf(nil, "record/%08d", n) }

// Value is the value of record n: its size and bytes follow from n.
func Value(n int) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	b := make([]byte, 100+rng.IntN(1500))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// Write commits records 1 to last by several writers at a time, and writes the
// number of a commit's first record to acks, a line each, when the commit is
// durable.
func Write(db *badger.DB, mode Mode, last int, acks io.Writer) error {
	var next atomic.Int64
	var g errgroup.Group
	for range writers {
		g.Go(func() error {
			for {
				first := int(next.Add(perCommit)) - perCommit + 1
				if first > last {
					return nil
				}
				if err := write(db, mode, first, acks); err != nil {
					return fmt.Errorf("write records from %d: %w", first, err)
				}
			}
		})
	}
	return g.Wait()
}

func write(db *badger.DB, mode Mode, first int, acks io.Writer) error {
	if err := commit(db, first); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if mode == DBSync {
		if err := db.Sync(); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
	}
	_, err := fmt.Fprintln(acks, first)
	return err
}

func commit(db *badger.DB, first int) error {
	return db.Update(func(txn *badger.Txn) error {
		for n := first; n < first+perCommit; n++ {
			if err := txn.Set(Key(n), Value(n)); err != nil {
				return err
			}
		}
		return nil
	})
}
