package local

import (
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// Stats are how many marks there are, and for how long each is known.
type Stats struct {
	Marks      int64         `json:"marks"`
	Bytes      int64         `json:"bytes"` // on disk, keys and all
	LimitBytes int64         `json:"limit_bytes"`
	Window     time.Duration `json:"-"` // in effect: every mark that is younger is known
}

// Stats of an open store.
func (s *Store) Stats() Stats {
	s.buckets.mu.Lock()
	defer s.buckets.mu.Unlock()
	out := Stats{LimitBytes: s.o.Limit, Window: s.o.Window}
	out.Marks, out.Bytes = s.buckets.sum()
	if evicted := time.Duration(s.evicted.Load()); evicted > 0 {
		out.Window = min(out.Window, max(s.now()-evicted, 0))
	}
	return out
}

// StatsOf a database in which no store is open. Nothing is changed.
func StatsOf(db *kv.DB, o Options) (Stats, error) {
	s := newStore(&database{o: o.withDefaults(), db: db})
	if err := s.loadBuckets(); err != nil {
		return Stats{}, err
	}
	return s.Stats(), nil
}
