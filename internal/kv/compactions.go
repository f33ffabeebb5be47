package kv

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// compactions sees to it that no compaction loses a table.
//
// Badger forgets the error of a table that a compaction cannot write
// (levels.go, subcompact: the argument of the deferred inflightBuilders.Done is
// taken before there is an error), names the other tables in the manifest and
// deletes what all were made from. Nothing outside is told, whatever the reason
// was: a failed sync, no room, no descriptor, no memory.
//
// Nor is anybody told of damage in what is read. Of a block that cannot be read
// the rest of its table counts as read (table/iterator.go ends with an error,
// which nobody asks for); of any other, what it says now is written with a
// checksum that holds.
//
// So what a compaction was made from is kept until it is known that it was whole,
// and that all was written. Badger says in its log how many tables a compaction
// begins to write, when it has read all that it reads, and when it is done; the
// manifest tells how many tables there are. From the moment when all was read,
// which is before Badger deletes anything, an iterator holds what was read: Badger
// deletes no file that an iterator has (table/table.go, DecrRef). It is closed when
// the counts agree, and the checksums of what was read hold.
//
// Otherwise the database is fenced with the iterators open, and what they hold
// stays on the disk when the process ends, as it does when it is killed.
// The next start takes those compactions back (takeback.go). While Badger closes
// more than one compaction may have to be (closing.go).
//
// Its methods are called by Badger's goroutines through the logger, with none
// of Badger's locks held, by the committer, and by Open and Close.
type compactions struct {
	dir   *directory
	log   *slog.Logger
	fence func(error)
	ready chan struct{} // closed by begin

	badger *badger.DB

	mu       sync.Mutex
	manifest *manifestTail
	held     []*badger.Iterator // of the files in use at some moment, oldest first
	running  map[int]int        // tables that are begun, by compactor
	ended    []int              // the same of those that ended, and are not judged
	written  []changeSet        // of compactions in the manifest, not judged
	judged   int                // compactions
	closing  bool

	condemned error // of the first judgement that failed: nothing is let go any more
	postponed error // why those that ended cannot be judged yet
}

// Lines of Badger's log, as it passes them (levels.go). Only their arguments
// are read.
const (
	lineTable  = "[%d] LOG Compact. Added %d keys. Skipped %d keys. Iteration took: %v"
	lineRead   = "Discard stats: %v"
	lineDone   = "[Compactor: %d] Compaction for level: %d DONE"
	lineFailed = "[Compactor: %d] LOG Compact FAILED with error: %+v: %+v"
)

func newCompactions(dir *directory, log *slog.Logger, fence func(error)) *compactions {
	return &compactions{dir: dir, log: log, fence: fence, ready: make(chan struct{}), running: map[int]int{}}
}

// begin is called when Badger has opened. What a compaction read before waits
// for it, so none has written to the manifest yet.
func (c *compactions) begin(b *badger.DB) error {
	manifest, err := openManifestTail(c.dir)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.badger, c.manifest = b, manifest
	c.keepManifest()
	close(c.ready)
	return nil
}

// said takes a line of Badger's log.
func (c *compactions) said(format string, args []any) {
	switch format {
	case lineTable:
		c.table(compactor(args), args)
	case lineRead:
		<-c.ready
		c.read()
	case lineDone:
		c.done(compactor(args))
	case lineFailed:
		c.failed(compactor(args))
	}
}

// compactor is which of Badger's compactors, of which each does one compaction
// at a time, a line is about.
func compactor(args []any) int {
	id, _ := args[0].(int)
	return id
}

// table notes that a compaction begins to write a table. One of no keys is none.
func (c *compactions) table(id int, args []any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if keys, _ := args[1].(uint64); keys > 0 {
		c.running[id]++
	} else {
		c.running[id] += 0 // it runs
	}
}

// read holds the files: some compaction has read all that it reads, or a part
// of one has. What the iterator holds was in use by all that run now.
func (c *compactions) read() {
	c.mu.Lock()
	c.hold()
	free, err := c.judge(1)
	c.mu.Unlock()
	c.after(free, err)
}

func (c *compactions) done(id int) {
	c.mu.Lock()
	c.ended = append(c.ended, c.running[id])
	delete(c.running, id)
	// Another that runs may have read all, and then the newest is its too.
	free, err := c.judge(min(len(c.running), 1))
	c.mu.Unlock()
	c.after(free, err)
}

// failed forgets a compaction, which has changed nothing.
func (c *compactions) failed(id int) {
	c.mu.Lock()
	delete(c.running, id)
	if c.manifest == nil { // it is being opened
		c.mu.Unlock()
		return
	}
	free, err := c.judge(min(len(c.running), 1))
	c.mu.Unlock()
	c.after(free, err)
}

// hold keeps the files that are in use now. c.mu is held.
func (c *compactions) hold() {
	if c.closing || c.badger.IsClosed() {
		return
	}
	txn := c.badger.NewTransactionAt(math.MaxUint64, false) // nothing is read of it
	c.held = append(c.held, txn.NewIterator(badger.IteratorOptions{}))
}

// errUnjudged: none runs, and yet there is one in the manifest that did not end,
// or not well.
var errUnjudged = fmt.Errorf("%w: a compaction failed after it had changed the manifest", ErrStorage)

// judge returns what need not be held any more, all but the newest keep. It has
// failed for good when it has failed once: what a second look does not see may
// be lost all the same. c.mu is held.
func (c *compactions) judge(keep int) (free []*badger.Iterator, err error) {
	if c.condemned == nil {
		free, c.condemned = c.verdict(keep)
	}
	return free, c.condemned
}

// verdict compares what was begun with what was written, when all compactions in
// the manifest have ended: which is whose does not matter then. c.mu is held.
func (c *compactions) verdict(keep int) (free []*badger.Iterator, err error) {
	sets, err := c.manifest.read()
	if err != nil {
		return nil, fmt.Errorf("judge compactions: %w", err)
	}
	for _, s := range sets {
		if _, deleted := s.count(); deleted > 0 {
			c.written = append(c.written, s)
		}
	}
	if len(c.written) != len(c.ended) {
		if len(c.running) == 0 {
			return nil, errUnjudged
		}
		return nil, nil
	}
	err = c.compare()
	if errors.Is(err, errUnread) {
		c.postpone(err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c.postponed = nil
	if c.judged == 0 && len(c.ended) > 0 {
		c.dir.proveRun()
	}
	c.judged += len(c.ended)
	c.ended, c.written = nil, nil
	c.keepManifest()
	if c.closing {
		return nil, nil
	}
	most := max(len(c.held)-keep, 0)
	free = slices.Clone(c.held[:most])
	c.held = slices.Delete(c.held, 0, most)
	return free, nil
}

// keepManifest names a new manifest for takeBack, which needs none of the older
// one any more. Without the name a compaction cannot be taken back if its change
// makes Badger replace the manifest, once in 10,000 deleted tables.
func (c *compactions) keepManifest() {
	if c.manifest.kept {
		return
	}
	c.manifest.kept = true
	if err := c.dir.keepManifest(); err != nil {
		c.log.Warn("cannot give the manifest a second name", "dir", c.dir.path, "error", err)
	}
}

// postpone leaves the judgement to the next line: all stays as it is. c.mu is held.
func (c *compactions) postpone(why error) {
	if c.postponed == nil {
		c.log.Warn("a compaction cannot be judged now; what it was made from is kept until it can", "dir", c.dir.path, "error", why)
	}
	c.postponed = why
}

// compare tells whether all was written, and all that was read was whole. c.mu is
// held.
func (c *compactions) compare() error {
	begun, named := 0, 0
	for _, tables := range c.ended {
		begun += tables
	}
	for _, s := range c.written {
		created, _ := s.count()
		named += created
	}
	if begun != named {
		return fmt.Errorf("%w: compactions named %d tables of %d: the rest could not be written", ErrStorage, named, begun)
	}
	return c.dir.checkRead(c.written, c.closing)
}

// after acts on a judgement, outside the lock: closing an iterator removes
// files.
func (c *compactions) after(free []*badger.Iterator, err error) {
	if err != nil {
		c.stop(err)
		return
	}
	for _, files := range free {
		files.Close()
	}
}

// stop fences. Of a damaged table the next start reads all blocks.
func (c *compactions) stop(err error) {
	if errors.Is(err, ErrDamaged) {
		err = errors.Join(err, c.dir.distrust())
	}
	c.fence(err)
}
