package kv

import "time"

// CommitStats describes one group commit.
type CommitStats struct {
	Ops      int           // operations in it, waiting and posted
	Bytes    int           // keys and values set and deleted
	Duration time.Duration // commit and sync, without the participants' work
}

// Stats are totals since Open.
type Stats struct {
	Commits   uint64
	Ops       uint64
	Bytes     uint64
	LastSync  time.Duration // duration of the last commit and sync
	TotalSync time.Duration
	MaxSync   time.Duration
	Queued    int  // operations that wait now
	Unclean   bool // the previous owner did not close the database
}

// Stats returns the totals since Open. It may be called in any state.
func (db *DB) Stats() Stats {
	db.mu.Lock()
	defer db.mu.Unlock()
	s := db.stats
	for b := range db.queued {
		s.Queued += b.ops
	}
	return s
}

func (db *DB) record(c CommitStats) {
	db.mu.Lock()
	db.stats.Commits++
	db.stats.Ops += uint64(c.Ops)
	db.stats.Bytes += uint64(c.Bytes)
	db.stats.LastSync = c.Duration
	db.stats.TotalSync += c.Duration
	db.stats.MaxSync = max(db.stats.MaxSync, c.Duration)
	db.mu.Unlock()
	if db.opts.OnCommit != nil {
		db.opts.OnCommit(c)
	}
}
