package kv

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

// DB is an open database. See the package documentation for what it promises.
//
// Invariants:
//   - only run, the committer, commits; only it takes batches from pending;
//   - cause is set once, and then nothing leaves as durable;
//   - gate is held for writing while it is unknown whether a commit is durable;
//   - mu is never held while calling Badger, whose goroutines may call fence.
type DB struct {
	opts       Options
	log        *slog.Logger
	badger     *badger.DB
	dir        *directory
	sealed     *seals
	epoch      uint64
	admitted   []byte // the note that the owner wants; nil: the one that was found
	noted      string // the note that was found, or admitted
	keeper     *keeper
	compacts   *compactions
	inventory  inventory
	versions   *versions
	reached    uint64   // the number of the last commit; the committer's
	nextLog    *nextLog // the committer's
	live       *liveLog // the committer's
	stalls     *stalls
	committing *watch // the committer's
	maxEntries int    // of one batch

	// commitTxn is a seam for tests: it commits one transaction under a version.
	commitTxn func(txn *badger.Txn, version uint64) error

	mu      sync.Mutex
	queues  []any    // the attached queues
	pending []*batch // oldest first; the last one still grows
	later   later
	tickets uint64 // given to operations
	current *batch // the one in the committer's hands, or the last one it had
	linger  linger
	closing bool
	cause   error // why the database is fenced
	stats   Stats

	damage     atomic.Pointer[Damage]
	fenced     atomic.Bool // cause != nil, for readers
	distrusted atomic.Bool // that is logged
	wording    sync.Mutex  // held by the one who leaves word for the next start
	worded     bool
	failed     chan struct{} // closed by fence
	wake       chan struct{} // capacity 1: something may be ready
	idle       chan struct{} // closed when the committer has ended

	fill   *Queue[filling]
	giving sync.Mutex // held by who has Badger flatten its levels: GiveBack, rest
	rest   *rest

	gate       sync.RWMutex
	readsEnded bool // guarded by gate
	readers    sync.WaitGroup

	closeOnce sync.Once
	closeErr  error
}

// MaxValue is the largest value in bytes that a transaction takes; larger ones
// have to be split by the caller.
func (db *DB) MaxValue() int { return int(db.opts.inlineLimit()) - 1 }

// MaxCommit is the largest size of one operation, in bytes.
func (db *DB) MaxCommit() int { return db.opts.MaxCommit }

// Epoch counts the times that the database was opened, this one included. A
// salvage does not set it back.
func (db *DB) Epoch() uint64 { return db.epoch }

func newDB(opts Options, dir *directory) *DB {
	db := &DB{
		opts: opts, log: opts.Logger, dir: dir,
		maxEntries: opts.maxBatchEntries() * 9 / 10,
		failed:     make(chan struct{}),
		wake:       make(chan struct{}, 1),
		idle:       make(chan struct{}),
		stalls:     newStalls(opts),
		linger:     linger{most: opts.Linger},
	}
	db.committing = db.stalls.watch("a commit")
	db.commitTxn = commitTxn
	db.fill = Attach(db, filler{})
	db.rest = newRest(&db.giving, opts.restAfter, db.failed)
	return db
}

// commitTxn is the one place where Badger commits: for the committer, and
// before there is one for a salvage.
func commitTxn(txn *badger.Txn, version uint64) error { return txn.CommitAt(version, nil) }
