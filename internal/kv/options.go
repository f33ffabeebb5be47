package kv

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/skl"
	"golang.org/x/sys/unix"
)

// Options configure one database. Only Dir is required.
type Options struct {
	// Dir is created with mode 0700 if it does not exist.
	Dir string
	// QuarantineDir takes what Open found damaged, a directory each time, for
	// an operator to keep or delete. It should be on the file system of Dir,
	// else they stay beside it; empty: "quarantine" beside Dir.
	QuarantineDir string
	// Logger gets the words of this package and of Badger; nil: discarded.
	Logger *slog.Logger
	// MemTableSize in bytes bounds memory and the largest transaction;
	// 0: 8 MiB, at least 1 MiB.
	MemTableSize int64
	// Limit is how many bytes the database may come to take: its tables, each a file
	// that is open and mapped, are so large, up to 8 MiB, that they stay below 16,384,
	// and below half of the files that the process may open; 0: not known.
	Limit int64
	// LazyDelay is the longest time a posted operation waits for a commit to
	// ride in; 0: 50 ms.
	LazyDelay time.Duration
	// Linger is the longest time a commit waits for callers who are likely to
	// come, because they were just answered (linger.go); 0: 1 ms, below 0: none waits.
	Linger time.Duration
	// LockWait is how long Open waits for the holder of the directory; 0: not at all.
	LockWait time.Duration
	// CloseWait bounds Close, because Badger's can hang for ever
	// (db.go:1151, flushMemtable retries without end); 0: 10 s.
	CloseWait time.Duration
	// SyncTimeout is how long a commit, or a write of HEAD, may take until it has
	// stalled: an Offer is then refused until it has ended; 0: 10 s.
	SyncTimeout time.Duration
	// OnStall is told when the first one stalls, and when the last one that has
	// comes to its end; nil: not told. It must not block.
	OnStall func(stalled bool)
	// MaxQueued is how many bytes may wait for their commit until an Offer is
	// refused; 0: 64 MiB.
	MaxQueued int
	// MaxCommit is the largest operation, and the largest sum of operations in
	// one transaction, in bytes; 0: 14 % of MemTableSize, where Badger's own
	// limit is 15 %. Many small operations are cut earlier, by their number.
	MaxCommit int
	// Magic is the format number of the directory's owner, below 256.
	Magic uint16
	// Owner may refuse an opening, and helps a salvage to keep what is not damaged of a
	// block or an entry that is; nil: all of it is given up.
	Owner Owner
	// BeforeOpen is called with the directory locked, when the owner has admitted it and
	// before anything in it is written; an error ends Open. It may wait until the volume has room.
	// starved says that starts which died did so of a full volume, and not of what
	// they read: they are not counted. nil: not called.
	BeforeOpen func(ctx context.Context) (starved bool, err error)
	// OnCommit is called on the committer's goroutine after each sync and
	// before its waiters are answered; nil: not called. It must not block.
	OnCommit func(CommitStats)

	restAfter time.Duration // until compactors rest; 0: 2 s. A seam for tests
}

// EntryOverhead is what Badger counts for an entry beside its key and value,
// when it bounds a transaction (structs.go, estimateSizeAndSetThreshold; txn.go, checkSize).
const EntryOverhead = 12

// BlockSize is that of the tables' blocks, in bytes: what shares a checksum, and
// is lost as a whole when a bit of it flips. A value that does not fit makes
// Badger build its block in buffers of twice the size, and keep all of them
// (table/builder.go, allocate): three times the memory.
const BlockSize = 64 << 10

const (
	defaultMemTableSize = 8 << 20
	minMemTableSize     = 1 << 20
	fullMemTable        = 8 << 20 // a smaller one is that of a small volume
	defaultLazyDelay    = 50 * time.Millisecond
	defaultLinger       = time.Millisecond
	defaultCloseWait    = 10 * time.Second
	defaultSyncTimeout  = 10 * time.Second
	defaultMaxQueued    = 64 << 20
	defaultRestAfter    = 2 * time.Second

	minTableSize = 2 << 20
	maxTableSize = 8 << 20 // the largest for which Headroom was measured
	maxTables    = 16384
	// fewTables are as many as there may be however few files may be open: with
	// less, the buffers would be what there is no room for.
	fewTables = 256

	// maxInline is Badger's upper bound of ValueThreshold (options.go,
	// maxValueThreshold); a value below the threshold stays in the LSM.
	maxInline = 1 << 20
	// valueLogSize is the smallest that Badger takes (db.go, checkAndSetOptions).
	// Nothing is written to the value log.
	valueLogSize = 1 << 20
	// Badger refuses a transaction of maxBatch or more (db.go:146, txn.go:339).
	maxBatchPercent = 15
	// maxCommitPercent leaves the rest for the commit's seal.
	maxCommitPercent = 14
)

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.QuarantineDir == "" {
		o.QuarantineDir = filepath.Join(filepath.Dir(filepath.Clean(o.Dir)), "quarantine")
	}
	if o.MemTableSize == 0 {
		o.MemTableSize = defaultMemTableSize
	}
	if o.LazyDelay == 0 {
		o.LazyDelay = defaultLazyDelay
	}
	if o.Linger == 0 {
		o.Linger = defaultLinger
	}
	if o.CloseWait == 0 {
		o.CloseWait = defaultCloseWait
	}
	if o.SyncTimeout == 0 {
		o.SyncTimeout = defaultSyncTimeout
	}
	if o.MaxQueued == 0 {
		o.MaxQueued = defaultMaxQueued
	}
	if o.restAfter == 0 {
		o.restAfter = defaultRestAfter
	}
	if o.MaxCommit == 0 {
		o.MaxCommit = MaxCommit(o.MemTableSize)
	}
	return o
}

func (o Options) validate() error {
	if o.Dir == "" {
		return fmt.Errorf("no directory given")
	}
	if o.MemTableSize < minMemTableSize {
		return fmt.Errorf("memtable size of %d bytes is below %d", o.MemTableSize, minMemTableSize)
	}
	if o.Magic >= 1<<layoutShift {
		return fmt.Errorf("the owner's format number of %d is above %d", o.Magic, 1<<layoutShift-1)
	}
	if most := o.MemTableSize * maxCommitPercent / 100; o.MaxCommit < 0 || int64(o.MaxCommit) > most {
		return fmt.Errorf("largest commit of %d bytes is not within 1 and %d (%d %% of the memtable size)", o.MaxCommit, most, maxCommitPercent)
	}
	return nil
}

func (o Options) maxBatchBytes() int64 { return o.MemTableSize * maxBatchPercent / 100 }

// tableSize is the same on all levels. A compaction builds eight tables and more at a
// time, each in a buffer of twice its size, rounded up to a power of two (levels.go,
// subcompact; table/builder.go, NewTableBuilder; ristretto z/allocator.go, NewAllocator):
// tables of 5 MiB would take buffers of 16. Badger's own, doubled with each level, are of
// 16 MiB beneath 5 GiB.
func (o Options) tableSize(openFiles uint64) int64 {
	tables := int64(max(MostTables(openFiles), fewTables))
	size := int64(minTableSize)
	for size < maxTableSize && size*tables < o.Limit {
		size *= 2
	}
	return size
}

// levelZeroTables is how many tables of level 0 a compaction begins with. Each that
// level 0 gives away cuts the levels beneath in the middle of a backlog (docs/adr/0043),
// so the fewer the better, but on a small volume, which has room for no more at a time
// than Badger's default.
func (o Options) levelZeroTables() int {
	if o.MemTableSize < fullMemTable {
		return 5
	}
	return 10
}

// MostTables is how many of the files that the process may open the tables of a database
// take at most, unless its Limit is above 128 GiB.
func MostTables(openFiles uint64) uint64 { return min(openFiles/2, maxTables) }

// OpenFiles is how many files the process may have open. The runtime has raised
// it as far as it may (os/rlimit.go).
func OpenFiles() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64
	}
	return limit.Cur
}

// MaxCommit is the largest operation of a database whose memtables have that
// size, in bytes; 0: the default.
func MaxCommit(memTable int64) int {
	return int(cmp.Or(memTable, defaultMemTableSize) * maxCommitPercent / 100)
}

// maxBatchEntries is the number of entries at which Badger refuses a
// transaction (db.go, checkAndSetOptions: maxBatchCount).
func (o Options) maxBatchEntries() int { return int(o.maxBatchBytes()) / skl.MaxNodeSize }

// inlineLimit is Badger's ValueThreshold: values of that size or more would go
// to the value log, whose failed msync is only logged (value.go:832-838).
func (o Options) inlineLimit() int64 { return min(maxInline, o.maxBatchBytes()) }

// uncompacted is for a recovery, during which nobody watches compactions
// (compactions.go): there are none, and no flush waits for one.
func (o Options) uncompacted(log badger.Logger) badger.Options {
	b := o.badgerOptions(log)
	b.NumCompactors = 0
	b.NumLevelZeroTablesStall = math.MaxInt
	return b
}

// badgerOptions are explained in docs/adr and below. Everything stays inline,
// so that one sync of one file makes a commit durable.
func (o Options) badgerOptions(log badger.Logger) badger.Options {
	b := badger.DefaultOptions(o.Dir)
	b.Logger = log
	b.SyncWrites = false // the committer syncs: see liveLog
	b.MemTableSize = o.MemTableSize
	b.NumMemtables = 2
	b.NumCompactors = 2
	b.NumLevelZeroTables = o.levelZeroTables()
	b.NumLevelZeroTablesStall = o.levelZeroTables() + 10          // as far above as by default
	b.BaseLevelSize = int64(o.levelZeroTables()) * o.MemTableSize // what level 0 gives to it at once
	b.BlockSize = BlockSize
	b.BaseTableSize = o.tableSize(OpenFiles())
	b.TableSizeMultiplier = 1
	b.ValueThreshold = o.inlineLimit()
	b.ValueLogFileSize = valueLogSize
	b.DetectConflicts = false // one committer
	b.NumVersionsToKeep = 1
	b.Compression = options.None
	// Verification by Badger panics, hides entries or reads every table at
	// open; the records carry their own checksum.
	b.ChecksumVerificationMode = options.NoVerification
	b.VerifyValueChecksum = true
	b.BlockCacheSize = 0 // uncompressed blocks are read from the mapping
	b.IndexCacheSize = 16 << 20
	b.MetricsEnabled = false // process-wide expvars, one set per directory
	b.ExternalMagicVersion = formatOf(o.Magic)
	return b
}
