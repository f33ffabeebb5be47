package local

import (
	"context"
	"iter"

	"github.com/remora-mq/remora/dedupe"
)

// fillSize is what a mark of Fill may take of a commit; kv wants room for one entry in
// 48 bytes.
const fillSize = bucketKeyLen + len(hash{}) + maxMark + 48

// known is a mark that Fill writes.
type known struct {
	key hash
	of  dedupe.Fingerprint
}

// Fill marks keys done that the store does not know, many with a commit. It is for
// benchmarks and tests, which need a window that holds millions.
func (s *Store) Fill(ctx context.Context, all iter.Seq2[dedupe.Key, dedupe.Fingerprint]) error {
	var next []known
	most := (s.db.MaxCommit() - opSize) / fillSize
	for k, f := range all {
		written, _ := s.hashes(k)
		if next = append(next, known{written, f}); len(next) == most {
			if err := s.fill(ctx, next); err != nil {
				return err
			}
			next = nil // the commit's
		}
	}
	return s.fill(ctx, next)
}

func (s *Store) fill(ctx context.Context, all []known) error {
	if len(all) == 0 {
		return nil
	}
	return s.commit(ctx, &op{fill: all}, opSize+len(all)*fillSize)
}

func (s *Store) applyFill(w *writing, all []known) {
	for _, one := range all {
		m := found{record: doneMark(one.of)}
		m.date(w.now, s.window < s.o.Window)
		s.put(w, one.key, m)
	}
}
