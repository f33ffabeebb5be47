package spool

import (
	"slices"

	"github.com/remora-mq/remora/internal/kv"
)

// operation is one change of the durable state. size is an upper bound in bytes
// of what it makes the commit write: more than that would fence the database.
// apply runs on the committer's goroutine with s.mu held, changes memory, and
// notes in c what has to be written; synced runs there too, with s.mu held, when
// all of it is on disk.
type operation interface {
	size() int
	apply(c *commit)
	synced(s *Spool)
}

// writer is the spool's participant in the group commit.
type writer struct {
	s *Spool
	c *commit // from Write until Synced

	unsure []*preparation // of the commit, whose names may be taken
	sought []soughtKey    // of the commit, that have to be read

	// wrote is a seam for tests, nil else: it compares what was declared and written.
	// Of s.mu.
	wrote func(ops []operation, c *commit)
}

var _ kv.Participant[operation] = (*writer)(nil)

// Write applies the operations in order and writes what they changed.
func (w *writer) Write(tx *kv.Tx, ops []operation) error {
	c := w.c
	c.begin(tx)
	if slices.ContainsFunc(ops, accepts) {
		w.s.opts.Space.Look()
	}
	w.look(ops)
	w.lookForKeys(ops)
	if err := w.s.db.Err(); err != nil { // damage was met
		return err
	}
	w.s.mu.Lock()
	for _, op := range ops {
		op.apply(c)
	}
	c.seal()
	wrote := w.wrote
	w.s.mu.Unlock()
	c.write()
	w.s.opts.Space.Wrote(c.bytes)
	if wrote != nil {
		wrote(ops, c)
	}
	return nil
}

// look has the names looked for of all transactions that are prepared.
func (w *writer) look(ops []operation) {
	w.unsure = w.unsure[:0]
	for _, op := range ops {
		if a, ok := op.(*appendMessages); ok && a.half != nil && len(a.half.chosen) > 0 {
			w.unsure = append(w.unsure, a.half)
		}
	}
	for _, p := range w.unsure {
		p.look(w.s.db) // nobody else commits; a snapshot would begin a version
	}
	clear(w.unsure)
}

// accepts reports whether op stores messages, or parts of them.
func accepts(op operation) bool {
	switch op.(type) {
	case *appendMessages, *importMessages, *chunkWrite:
		return true
	}
	return false
}

// Synced lets the effects be seen.
func (w *writer) Synced(ops []operation) {
	w.s.mu.Lock()
	for l := range w.c.lanes {
		l.attemptedSynced = l.attempted
	}
	for _, op := range ops {
		op.synced(w.s)
	}
	w.s.keys.synced()
	w.s.leaveNote()
	w.s.mu.Unlock()
}

// beginEpoch and flush write the head, and nothing else.
type (
	beginEpoch struct{}
	flush      struct{}
)

func (*beginEpoch) size() int     { return fixedSize }
func (*beginEpoch) apply(*commit) {}
func (*beginEpoch) synced(*Spool) {}
func (*flush) size() int          { return fixedSize }
func (*flush) apply(*commit)      {}
func (*flush) synced(*Spool)      {}

// deletion removes keys that nothing refers to.
type deletion struct{ keys [][]byte }

func (d *deletion) size() int       { return fixedSize + len(d.keys)*deleteSize }
func (d *deletion) apply(c *commit) { c.deletes = append(c.deletes, d.keys...) }
func (d *deletion) synced(*Spool)   {}

// chunkWrite stores one chunk of a payload; nothing refers to it yet.
type chunkWrite struct{ key, value []byte }

func (w *chunkWrite) size() int       { return fixedSize + len(w.value) }
func (w *chunkWrite) apply(c *commit) { c.sets = append(c.sets, pair{w.key, w.value}) }
func (w *chunkWrite) synced(*Spool)   {}

// raiseAttempted allows attempts for sequences up to upTo.
type raiseAttempted struct {
	lane *lane
	upTo uint64
}

func (r *raiseAttempted) size() int { return fixedSize }

func (r *raiseAttempted) apply(c *commit) {
	r.lane.attempted = max(r.lane.attempted, r.upTo)
	c.touch(r.lane)
}

func (r *raiseAttempted) synced(*Spool) {}
